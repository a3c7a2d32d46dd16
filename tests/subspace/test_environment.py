"""What importing the package sets, in fresh processes: JAX reads its environment once."""

import importlib
import os
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest

WRONG_WITHOUT_THE_GUARD = """
    import jax, jax.numpy as jnp
    import numpy as np

    def normed(x):
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)

    x = jax.random.normal(jax.random.key(0), (108, 8))
    cotangents = jax.random.normal(jax.random.key(1), (54, 108, 8))
    backward = lambda c: jax.vjp(normed, x)[1](c)[0]
    together = jax.jit(jax.vmap(backward))(cotangents)
    one_by_one = jnp.stack([jax.jit(backward)(c) for c in cotangents])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
"""

affected = pytest.mark.skipif(version("jaxlib") != "0.10.2", reason="only jaxlib 0.10.2 is affected")


def _run(program, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**clean, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("package", ["subspace", pytest.param("vggt_jax", marks=pytest.mark.slow)])
def test_gradients_over_adapters_are_right(package):
    done = _run(f"import {package}" + WRONG_WITHOUT_THE_GUARD.replace("\n    ", "\n"))
    assert done.returncode == 0, done.stderr


@affected
@pytest.mark.slow
def test_the_fault_is_still_there_without_the_guard():
    assert "Mismatched elements" in _run(WRONG_WITHOUT_THE_GUARD).stderr


@affected
def test_single_products_are_still_fused():
    done = _run("""
        import subspace, jax, jax.numpy as jnp
        x = jnp.ones((300, 300))
        text = lambda function: jax.jit(function).lower(x).compile().as_text()
        print("__ynn_fusion" in text(lambda x: x @ x), "__ynn_fusion" in text(lambda x: (x - x.mean(0)).sum(1)))
    """)
    assert done.stdout.split() == ["True", "False"], done.stderr


@pytest.mark.slow
def test_gradients_of_products_over_adapters_are_right():
    done = _run("""
        import subspace, jax, jax.numpy as jnp, numpy as np
        normal = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)
        x, w, a, b = normal(0, 108, 64), normal(1, 64, 33), normal(2, 54, 33, 4), normal(3, 54, 64, 4)
        loss = lambda x, w, a, b: jnp.square(jax.nn.softmax(x @ w + (x @ b) @ a.T)).sum()
        gradients = jax.grad(loss, (0, 1, 2, 3))
        together = jax.jit(jax.vmap(gradients, (None, None, 0, 0)))(x, w, a, b)
        with jax.enable_x64(True):
            x, w, a, b = (jnp.asarray(array, jnp.float64) for array in (x, w, a, b))
            exact = jax.jit(jax.vmap(gradients, (None, None, 0, 0)))(x, w, a, b)
        for found, expected in zip(together, exact):
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("modules", ["subspace, subspace.errors", "vggt_jax, vggt_jax.config", "weights_convert"])
def test_what_needs_no_array_does_not_wait_for_jax(modules):
    done = _run(f"import {modules}, sys; print(sorted({{'jax', 'flax', 'scipy', 'numpy'}} & set(sys.modules)))")
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("package", ["subspace", "vggt_jax", "vggt_jax.adapters", "weights_convert"])
def test_every_public_name_is_found(package):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == dir(module)
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018


def test_settings_of_the_user_stay():
    program = "import subspace, os; print(os.environ['XLA_FLAGS'], os.environ['NPROC'])"
    done = _run(program, XLA_FLAGS="--xla_force_host_platform_device_count=2", NPROC="3")
    assert "--xla_force_host_platform_device_count=2" in done.stdout and done.stdout.split()[-1] == "3"
    chosen = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
    assert _run(program, XLA_FLAGS=chosen, NPROC="3").stdout.split() == [chosen, "3"]


@affected
def test_too_late_is_said():
    done = _run("import jax; jax.numpy.ones(3) + 1; import subspace")
    assert "before JAX's first computation" in done.stderr


@pytest.mark.skipif((os.cpu_count() or 1) >= 8, reason="nothing is changed on machines with eight cores or more")
def test_small_machines_get_a_larger_pool_and_one_blas_thread_but_numpy_keeps_its_own():
    done = _run("""
        import numpy, os, threadpoolctl
        before = {x["filepath"]: x["num_threads"] for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"}
        import subspace
        assert os.environ["NPROC"] == "8"
        subspace.LowRank
        after = {x["filepath"]: x["num_threads"] for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"}
        assert all(after[path] == threads for path, threads in before.items()), (before, after)
        assert [threads for path, threads in after.items() if path not in before] == [1], after
    """)
    assert done.returncode == 0, done.stderr


def test_the_pool_is_given_back_unless_the_user_set_it():
    program = "import os; from subspace import environment; environment.restore_pool(); print(os.environ.get('NPROC'))"
    assert _run(program).stdout.split()[-1] == "None"
    assert _run(program, NPROC="3").stdout.split()[-1] == "3"
