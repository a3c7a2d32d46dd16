"""The deadlock of XLA's CPU pool, in processes of their own, with a time limit."""

import os
import subprocess
import sys
import textwrap

import pytest
import threadpoolctl

LIMIT_S = 240

RAW_CALLS = """
    import jax, jax.numpy as jnp
    x = jax.random.normal(jax.random.key(0), (4, 512, 64))
    independent = jax.jit(lambda x: [jnp.linalg.qr(x * scale) for scale in (1, 2, 3, 4)])
    for _ in range(1000):
        jax.block_until_ready(independent(x))
"""

EVERY_FUNCTION = """
    import jax, jax.numpy as jnp
    from subspace import *

    def adapters(seed, n=512, m=256, k=4, layers=4, r=16):
        keys = jax.random.split(jax.random.key(seed))
        return LowRank(*(jax.random.normal(key, (k, layers, size, r)) for key, size in zip(keys, (n, m))))

    for seed in range(3):
        x, y = adapters(seed)[0], adapters(seed + 1)[0]
        frobenius_norm(x), singular_values(x), canonicalize(x)
        generalized_eigh(jnp.stack([jnp.eye(64)] * 8), jnp.stack([2 * jnp.eye(64)] * 8))
        generalized_eigenvalues(x, y), principal_angles(x, y)
        pairwise_eigenvalues({"a": x, "b": y, "c": y})
        null_eigenvalues(256, 16, 16, 200, jax.random.key(seed))
        captured_energy(y, merge_subspaces({"a": x, "b": y}))
        shared = shared_subspaces({"a": adapters(seed), "b": adapters(seed, n=256)}, 16)
        subspace_stability(adapters(seed), 16)
        examine_subspaces({"a": adapters(seed), "b": adapters(seed, n=256)}, 16)
        examine_subspaces({"a": adapters(seed)}, 60)
        spectral_pattern(shared["a"].initial_singular_values, 16).names, effective_rank(x)
"""

ONE_PROGRAM = """
    import jax
    from subspace import *

    @jax.jit
    def several(x, y, z):
        return canonicalize(x), canonicalize(y), singular_values(z), principal_angles(x, z), frobenius_norm(x - y)

    keys = jax.random.split(jax.random.key(0), 6)
    stacks = [LowRank(jax.random.normal(a, (4, 512, 64)), jax.random.normal(b, (4, 512, 64))) for a, b in keys.reshape(3, 2)]
    for _ in range(300):
        jax.block_until_ready(several(*stacks))
"""

JAX_FIRST = """
    import jax, jax.numpy as jnp
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((64, 64))))
"""

AS_COMMANDS_DO = """
    from subspace import environment
    environment.restore_pool()
"""

ONE_CORE = """
    import os
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
"""


def _finishes(*parts: str, limit_s: float = LIMIT_S, **environment: str) -> bool:
    code = "".join(textwrap.dedent(part) for part in parts)
    clean = {key: value for key, value in os.environ.items() if key not in ("NPROC", "OPENBLAS_NUM_THREADS")}
    try:
        process = subprocess.run(
            [sys.executable, "-c", code], env={**clean, **environment}, timeout=limit_s, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return False
    assert process.returncode == 0, process.stderr
    return True


@pytest.mark.slow
def test_raw_jax_calls_deadlock_without_the_larger_pool():
    """Documents the hazard in the pinned version; whether it strikes is a matter of timing, so not striking is no failure."""
    assert _finishes(RAW_CALLS, NPROC="8", OPENBLAS_NUM_THREADS="1")
    if _finishes(RAW_CALLS, limit_s=20):
        pytest.skip("1,000 rounds did not hang here; where they never do, subspace.threads may be revisited")


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", [pytest.param("", id="subspace_first"), AS_COMMANDS_DO, JAX_FIRST, ONE_CORE, JAX_FIRST + ONE_CORE]
)
def test_no_function_hangs_whoever_imports_first(before):
    assert _finishes(before, EVERY_FUNCTION)


@pytest.mark.slow
def test_several_functions_in_one_program_do_not_hang():
    """Chains of LAPACK calls that know nothing of each other: here the larger pool helps, if subspace comes first."""
    assert _finishes(ONE_PROGRAM, XLA_FLAGS="")  # as users compile


def test_a_call_ends_with_the_blas_threads_it_found():
    import jax.numpy as jnp

    from subspace import LowRank, canonicalize

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        found = [x["num_threads"] for x in threadpoolctl.threadpool_info()]
        canonicalize(LowRank(jnp.ones((3, 2)), jnp.ones((3, 2))))
        assert [x["num_threads"] for x in threadpoolctl.threadpool_info()] == found
