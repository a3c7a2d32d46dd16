"""Folders as ``experiments.extract`` writes them, of subspaces and adapters that are known beforehand."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.stats import ortho_group

from experiments.mining.folder import write_folder
from experiments.mining.mine import mine, stack_adapters
from experiments.mining.origin import Origin
from experiments.mining.summary import rows
from subspace import LowRank, SharedSubspace
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Adapter, BaseModel, save_adapter

BASE = BaseModel("small", "0123456789abcdef", VGGTConfig.nano())

SHAPES = {
    "aggregator.frame_blocks.attn.qkv": ((3,), 96, 32),
    "aggregator.frame_blocks.mlp.fc1": ((3,), 128, 32),
    "aggregator.global_blocks.attn.qkv": ((3,), 96, 32),
    "camera_head.trunk.mlp.fc2": ((2,), 40, 64),
    "camera_head.pose_branch.fc2": ((), 24, 48),
}
"""Layers, outputs and inputs of a small model's matrices."""


def orthonormal(rng, rows_, columns):
    return ortho_group.rvs(rows_, random_state=rng)[:, :columns]


def turned(rng, U, degrees):
    """A basis whose principal angles to that of U are exactly ``degrees`` (one for each column), and mixed columns."""
    n, d = U.shape
    outside = orthonormal(rng, n, n)
    outside = np.linalg.qr(outside[:, : 2 * d] - U @ (U.T @ outside[:, : 2 * d]))[0][:, :d]
    angles = np.radians(degrees)
    mixed = ortho_group.rvs(d, random_state=rng) if d > 1 else np.eye(1)
    return (U * np.cos(angles) + outside * np.sin(angles)) @ mixed


def factors(U, V, sigma):
    root = np.sqrt(sigma)
    return LowRank((U * root).astype(np.float32), (V * root).astype(np.float32))


def write_subspace(folder: Path, attribute, subspaces, rank=4, base=BASE, k=3, spectra=None, init=None):
    """A folder without adapters that holds exactly the given ``{path: LowRank}``."""
    found = {}
    for path, subspace in subspaces.items():
        layers = subspace.A.shape[:-2]
        p = min(k * rank, *subspace.shape[-2:])
        sigma = np.broadcast_to(np.linspace(2, 0.1, p), (*layers, p)) if spectra is None else spectra[path]
        found[path] = SharedSubspace(
            factors=subspace,
            weights=np.full((*layers, k), 1 / k),
            singular_values=sigma,
            initial_singular_values=sigma,
            residuals=np.ones((*layers, k)),
            objective=np.ones((*layers, 1)),
            iterations=np.ones(layers, int),
            converged=np.ones(layers, bool),
        )
    folder.mkdir(parents=True)
    dim = max(subspace.rank for subspace in subspaces.values())
    names = tuple(f"{attribute}_{i:02d}" for i in range(k))
    origin = Origin(attribute, base.name, base.fingerprint, dim, 1.0, names, init)
    write_folder(folder, found, origin, [{"path": path, "rank": rank} for path in subspaces])
    return folder


def draw_adapters(seed, shared, k=4, rank=4, private=0.3, shapes=SHAPES, common_input=None):
    """k adapters ``{name: {path: LowRank}}``: ``shared`` {path: (U, V)} with an own core each, plus private noise.

    ``common_input`` (a seed) gives all adapters one random input factor, as training from one shared draw does.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(k):
        adapter = {}
        for path, (layers, n, m) in shapes.items():
            A = rng.standard_normal((*layers, n, rank)) * private / np.sqrt(n)
            B = rng.standard_normal((*layers, m, rank)) * private / np.sqrt(m)
            if path in shared:
                U, V = shared[path]
                core = np.eye(U.shape[-1], rank) + 0.1 * rng.standard_normal((*layers, U.shape[-1], rank))
                A, B = A + U @ core, B + V @ core
            if common_input is not None:
                draw = np.random.default_rng([common_input, list(shapes).index(path)])
                B = draw.standard_normal((*layers, m, rank)) / np.sqrt(m)
            adapter[path] = LowRank(A.astype(np.float32), B.astype(np.float32))
        found.append(adapter)
    return found


def draw_subspaces(seed, dim=4, shapes=SHAPES):
    """{path: (U, V)} with orthonormal columns, drawn at random."""
    rng = np.random.default_rng(seed)
    found = {}
    for path, (layers, n, m) in shapes.items():
        sides = [np.linalg.qr(rng.standard_normal((*layers, size, dim)))[0] for size in (n, m)]
        found[path] = (sides[0], sides[1])
    return found


def write_run(folder: Path, attribute, adapters, /, dim=4, base=BASE, init=None, targets="true"):
    """A complete folder with adapters: mined, stored and summarised by the project's own functions."""
    named = {f"{attribute}_{i:02d}": adapter for i, adapter in enumerate(adapters)}
    mined = mine(stack_adapters(named), dim)
    (folder / "adapters").mkdir(parents=True)
    for name, adapter in named.items():
        save_adapter(folder / "adapters" / f"{name}.safetensors", Adapter(adapter, base))
    origin = Origin(attribute, base.name, base.fingerprint, dim, 1.0, tuple(named), init, targets)
    write_folder(folder, mined.subspaces, origin, [asdict(row) for row in rows(mined)])
    return folder
