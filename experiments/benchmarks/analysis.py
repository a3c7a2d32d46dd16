"""``python -m experiments.benchmark analysis``: four attributes of VGGT-1B's size, from the folders to the report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from experiments.benchmarks import machine
from experiments.benchmarks.subspace_mining import ADAPTERS, ATTRIBUTES, DIM, LAYERS, MATRICES, RANK
from experiments.mining.folder import SUBSPACE, write_folder
from experiments.mining.origin import Origin
from experiments.mining.subspace_file import load_subspace
from subspace import LowRank, SharedSubspace, canonicalize


def report(with_adapters: bool) -> Iterator[str]:
    """The table, line by line as it fills; ``with_adapters`` adds what mines halves, shuffled groups and all but one."""
    yield machine.describe()
    yield f"\n{len(ATTRIBUTES)} attributes × {2 * LAYERS * len(MATRICES)} matrices, d' = {DIM}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders = [write_attribute(folder / attribute, seed, attribute) for seed, attribute in enumerate(ATTRIBUTES)]
        yield _row("no adapters", folders, folder / "analysis")
        if with_adapters:
            for seed, attribute_folder in enumerate(folders):
                write_adapters(attribute_folder, seed)
            yield _row(f"{ADAPTERS} adapters of rank {RANK} each", folders, folder / "with_adapters")


def _row(what: str, folders: list[Path], output: Path) -> str:
    took, peak = machine.in_own_process(_analyze, folders, output)
    pages = (output / "report.html").stat().st_size
    return (
        f"  {what}: read, analysed and reported in {took:.0f} s, peak memory {peak / 1e9:.2f} GB, "
        f"report {pages / 1e6:.1f} MB"
    )


def _analyze(folders: list[Path], output: Path) -> tuple[float, int]:
    """Seconds, imports and compilation included, and bytes."""
    start = time.perf_counter()
    from experiments.analysis import Settings, analyze

    analyze(Settings(subspaces=tuple(folders), output=output))
    return time.perf_counter() - start, machine.peak_memory()


def write_attribute(folder: Path, seed: int, attribute: str) -> Path:
    """A folder of subspaces that agree with other attributes' the more, the deeper the layer."""
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
    names = tuple(f"{attribute}_{i:02d}" for i in range(ADAPTERS))
    origin = Origin(attribute, "vggt_1b, synthetic", None, DIM, 1.0, names)
    write_folder(folder, found, origin, [{"path": path, "rank": RANK} for path in found])
    return folder


def write_adapters(folder: Path, seed: int) -> None:
    """Adapters for a folder of :func:`write_attribute`: half of each factor's energy in the subspace, half anywhere."""
    stored = load_subspace(folder / SUBSPACE)
    (folder / "adapters").mkdir()
    for number, name in enumerate(stored.origin.adapters):
        rng = np.random.default_rng([2, seed, number])
        tensors = {}
        for path, subspace in stored.factors.items():
            for side, basis in zip("AB", (subspace.A, subspace.B), strict=True):
                layers, size, dim = basis.shape
                unit = basis / np.linalg.norm(basis, axis=-2, keepdims=True)
                shared = unit @ rng.standard_normal((layers, dim, RANK), dtype=np.float32) / np.sqrt(dim)
                private = rng.standard_normal((layers, size, RANK), dtype=np.float32) / np.sqrt(size)
                tensors[f"{path}.{side}"] = (shared + private).astype(np.float32)
        save_file(tensors, folder / "adapters" / f"{name}.safetensors")
