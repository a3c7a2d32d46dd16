"""``python -m experiments.benchmark analysis``: four attributes of VGGT-1B's size, from the folders to the report."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import machine
from experiments.benchmarks.subspace_mining import ADAPTERS, ATTRIBUTES, DIM, LAYERS, MATRICES, RANK
from experiments.mining.files import Origin, save_subspace
from subspace import LowRank, SharedSubspace, canonicalize


def report() -> None:
    """Print the table."""
    print(machine.describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders = [_write(folder / attribute, seed, attribute) for seed, attribute in enumerate(ATTRIBUTES)]
        took, peak = machine.in_own_process(_analyze, folders, folder / "analysis")
        pages = (folder / "analysis" / "report.html").stat().st_size
    print(f"\n{len(ATTRIBUTES)} attributes × {2 * LAYERS * len(MATRICES)} matrices, d' = {DIM}, no adapters")
    print(
        f"  read, analysed and reported in {took:.0f} s, peak memory {peak / 1e9:.2f} GB, report {pages / 1e6:.1f} MB"
    )


def _analyze(folders: list[Path], output: Path) -> tuple[float, int]:
    """Seconds, imports and compilation included, and bytes."""
    start = time.perf_counter()
    from experiments.analyze import analyze

    analyze(folders, [], output, seed=0)
    return time.perf_counter() - start, machine.peak_memory()


def _write(folder: Path, seed: int, attribute: str) -> Path:
    """Subspaces that agree with other attributes' the more, the deeper the layer."""
    own, common = np.random.default_rng([1, seed]), np.random.default_rng(0)
    agreement = np.linspace(0, 0.5, LAYERS, dtype=np.float32)[:, None, None]
    root = np.geomspace(1, 0.2, DIM, dtype=np.float32)
    spectrum = jnp.broadcast_to(jnp.geomspace(1, 1e-4, RANK * ADAPTERS), (LAYERS, RANK * ADAPTERS))
    found = {}
    for kind in ("frame_blocks", "global_blocks"):
        for name, sizes in MATRICES.items():
            draws = [
                [rng.standard_normal((LAYERS, size, DIM), dtype=np.float32) for rng in (common, own)] for size in sizes
            ]
            A, B = (jnp.asarray((agreement * shared + private) * root) for shared, private in draws)
            found[f"aggregator.{kind}.{name}"] = SharedSubspace(
                factors=canonicalize(LowRank(A, B)),
                weights=jnp.full((LAYERS, ADAPTERS), 1 / ADAPTERS),
                singular_values=spectrum,
                initial_singular_values=spectrum,
                residuals=jnp.ones((LAYERS, ADAPTERS)),
                objective=jnp.ones((LAYERS, 1)),
                iterations=jnp.ones(LAYERS, int),
                converged=jnp.ones(LAYERS, bool),
            )
    folder.mkdir()
    names = [f"{attribute}_{i:02d}" for i in range(ADAPTERS)]
    save_subspace(folder / "subspace.safetensors", found, Origin(attribute, "vggt_1b, synthetic", DIM, 1.0, names))
    summary = {"facts": {}, "matrices": [{"path": path, "rank": RANK} for path in found]}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
