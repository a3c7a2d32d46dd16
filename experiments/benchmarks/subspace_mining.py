"""``python -m experiments.benchmark subspace``: the linear algebra at VGGT-1B's size."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import machine
from subspace import LowRank, pairwise_eigenvalues, shared_subspaces
from subspace.threads import one_blas_thread

LAYERS, ADAPTERS, RANK, DIM = 24, 10, 16, 16
MATRICES = {"qkv": (3072, 1024), "proj": (1024, 1024), "fc1": (4096, 1024), "fc2": (1024, 4096)}
"""Outputs and inputs of the adapted matrices of one VGGT-1B block."""
ATTRIBUTES = ("texture", "geometry", "camera", "lighting")
DENSE_ITERATIONS = 3


def report(iterations: int) -> Iterator[str]:
    """The table, line by line as it fills."""
    yield machine.describe()
    yield f"float32 matrix product: {machine.matmul_gflops():.0f} GFLOP/s"
    adapters = _adapters()
    count = 2 * LAYERS * len(MATRICES)
    yield f"\n{count} matrices, k = {ADAPTERS} adapters of rank {RANK}, d' = {DIM}, float32"

    forced = {"max_iterations": iterations, "tolerance": 0.0}
    first, full = machine.seconds(lambda: shared_subspaces(adapters, DIM, **forced), repeats=2)
    _, usual = machine.seconds(lambda: shared_subspaces(adapters, DIM), repeats=1)
    usual_iterations = max(int(x.iterations.max()) for x in shared_subspaces(adapters, DIM).values())
    peak = machine.peak_memory() / 1e9
    limit = _one_factorisation(adapters)
    dense_each = _dense_irls()
    dense = sum(each * iterations * 2 * LAYERS for each in dense_each.values())

    yield _row(f"shared_subspaces, {iterations} iterations each", f"{full:.2f} s", f"+ {first - full:.1f} s to compile")
    yield _row("shared_subspaces, default tolerance", f"{usual:.2f} s", f"at most {usual_iterations} iterations")
    yield _row("peak memory of the process so far", f"{peak:.2f} GB", "")
    yield _row("one QR of all factors (the limit)", f"{limit:.2f} s", f"we take {full / limit:.1f} times as long")
    per_matrix = ", ".join(f"{name} {each:.2f} s" for name, each in dense_each.items())
    yield _row("dense IRLS in NumPy, extrapolated", f"{dense:.0f} s", f"an iteration: {per_matrix}")
    yield _row("  shared_subspaces is faster by", f"{dense / full:.0f} x", "")

    subspaces = {
        matrix: {name: _random(seed, matrix, (2, LAYERS)) for seed, name in enumerate(ATTRIBUTES)}
        for matrix in MATRICES
    }
    first, angles = machine.seconds(lambda: [pairwise_eigenvalues(x) for x in subspaces.values()])
    yield _row("pairwise_eigenvalues, 6 pairs of attributes", f"{angles:.2f} s", f"+ {first - angles:.1f} s to compile")


def _row(what: str, figure: str, remark: str) -> str:
    return f"  {what:<46} {figure:>10}  {remark}".rstrip()


def _random(seed: int, matrix: str, stack: tuple[int, ...]) -> LowRank:
    n, m = MATRICES[matrix]
    rng = np.random.default_rng(seed)
    return LowRank(*(jnp.asarray(rng.standard_normal((*stack, size, RANK), np.float32)) for size in (n, m)))


def _adapters() -> dict[str, LowRank]:
    """Adapters that share a part and have a private one, as the method supposes."""

    def matrix(seed: int, name: str) -> LowRank:
        shared, private = _random(seed, name, (LAYERS,)), _random(seed + 1, name, (ADAPTERS, LAYERS))
        return LowRank(shared.A + private.A, shared.B + private.B)

    kinds = ("frame_blocks", "global_blocks")
    return {f"{kind}.{name}": matrix(i, name) for i, kind in enumerate(kinds) for name in MATRICES}


def _one_factorisation(adapters: dict[str, LowRank]) -> float:
    """Seconds for one tall-skinny QR of every factor: nothing that is exact can do with less."""
    triangular = one_blas_thread(jax.jit(lambda x: jnp.linalg.qr(x, mode="r")))
    total = 0.0
    for stack in adapters.values():
        for factor in (stack.A, stack.B):
            k, layers, n, r = factor.shape
            columns = jax.block_until_ready(jnp.moveaxis(factor, 0, 2).reshape(layers, n, k * r))
            total += machine.seconds(lambda columns=columns: triangular(columns), repeats=2)[1]
    return total


def _dense_irls() -> dict[str, float]:
    """Seconds of one IRLS iteration on the dense matrix in NumPy (float32 as well), per kind of matrix."""
    each = {}
    for name in MATRICES:
        stack = _random(0, name, (ADAPTERS,))
        W = np.asarray(stack.to_dense())
        weights = np.full(ADAPTERS, 1 / ADAPTERS, np.float32)
        times = []
        for _ in range(DENSE_ITERATIONS):
            start = time.perf_counter()
            C = np.tensordot(weights, W, axes=1)
            U, sigma, Vt = np.linalg.svd(C, full_matrices=False)
            S = (U[:, :DIM] * sigma[:DIM]) @ Vt[:DIM]
            residuals = np.array([np.linalg.norm(S - Wi) for Wi in W])
            weights = (1 / residuals) / np.sum(1 / residuals)
            times.append(time.perf_counter() - start)
        each[name] = min(times)
    return each
