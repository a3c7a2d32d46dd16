"""The guard against wrong fusions in jaxlib 0.10.2, in fresh processes: XLA reads its flags once."""

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


def run(program, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**clean, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_gradients_over_adapters_are_right():
    done = run("import vggt_jax\n" + WRONG_WITHOUT_THE_GUARD)
    assert done.returncode == 0, done.stderr


def test_flags_of_the_user_stay():
    program = "import vggt_jax, os; print(os.environ['XLA_FLAGS'])"
    done = run(program, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert "--xla_force_host_platform_device_count=2" in done.stdout
    chosen = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
    assert run(program, XLA_FLAGS=chosen).stdout.strip() == chosen


def test_too_late_is_said():
    if version("jaxlib") != "0.10.2":
        pytest.skip("only jaxlib 0.10.2 is affected")
    done = run("import jax; jax.numpy.ones(3) + 1; import vggt_jax")
    assert "import vggt_jax before JAX's first computation" in done.stderr
