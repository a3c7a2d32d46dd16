"""What trained LoRAs keep of the random input factors that they began with, which are drawn again from their seeds."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from experiments.data.manifest import AttributeSettings
from experiments.extraction.prepared import first_draw
from experiments.mining.folder import Inputs, MinedAttribute
from experiments.mining.summary import part_of
from subspace import LowRank
from vggt_jax.adapters import LoRA, initialize, load_adapter
from vggt_jax.parameters import adaptable_matrices


@dataclass(frozen=True)
class FirstFactorRow:
    """The adapters of an attribute in a part of the model."""

    attribute: str
    """The attribute."""
    part: str
    """The part of the model."""
    matrices: int
    """Number of matrices, those of all adapters."""
    row_space: float
    """Share, 0 to 1, of the final row space in the first one: mean over matrices of ‖B₀ᵀB‖²/r of orthonormal bases."""
    energy: float
    """Share of the energy ‖dW‖² whose input lies in the first factor, of all matrices and adapters together."""
    chance: float
    """What a random factor would have, r/m: mean over matrices."""
    moved: float
    """‖B − B₀‖/‖B₀‖: mean over matrices."""


def first_factor_rows(inputs: Inputs) -> list[FirstFactorRow]:
    """One row for each attribute and part; of attributes whose adapters say how they were drawn."""
    return [row for name, mined in inputs.attributes.items() for row in _rows(name, mined)]


def _rows(name: str, mined: MinedAttribute) -> list[FirstFactorRow]:
    firsts = drawn_again(mined)
    if firsts is None:
        return []
    found: dict[str, list[np.ndarray]] = {}
    for number, first in enumerate(firsts):
        for path, delta in mined.read_adapter(number).items():
            found.setdefault(part_of(path), []).append(_kept(delta, first[path]))
    made = []
    for part, each in found.items():
        rows = np.concatenate(each)
        row_space, moved, chance = rows[:, :3].mean(axis=0).tolist()
        inside, energy = rows[:, 3:].sum(axis=0).tolist()
        made.append(FirstFactorRow(name, part, len(rows), row_space, inside / energy if energy else 0.0, chance, moved))
    return made


def _kept(delta: LowRank, first: np.ndarray) -> np.ndarray:
    """(layers, 5): share of the row space, movement, chance, energy in the first factor, and energy."""
    A, B, B0 = (np.asarray(x, np.float64).reshape(-1, *x.shape[-2:]) for x in (delta.A, delta.B, first))
    Q0, Q = np.linalg.qr(B0)[0], np.linalg.qr(B)[0]
    dim = Q.shape[-1]  # the rank, or fewer where the matrix has fewer inputs
    row_space = (np.einsum("lmi,lmj->lij", Q0, Q) ** 2).sum(axis=(1, 2)) / dim
    moved = np.linalg.norm(B - B0, axis=(1, 2)) / np.linalg.norm(B0, axis=(1, 2))
    gram = np.einsum("lni,lnj->lij", A, A)
    inside = np.einsum("lmi,lmj->lij", B, Q0)
    energy_inside = np.einsum("lij,lik,ljk->l", gram, inside, inside)
    energy = np.einsum("lij,lij->l", gram, np.einsum("lmi,lmj->lij", B, B))
    chance = np.full(len(B), dim / B.shape[-2])
    return np.stack([row_space, moved, chance, energy_inside, energy], axis=1)


def drawn_again(mined: MinedAttribute) -> list[dict[str, np.ndarray]] | None:
    """The first input factor B (*layers, m, r) of each matrix of every adapter; None where it is not known how it was drawn."""
    if not mined.adapter_files or mined.origin.init is None:
        return None
    adapter = load_adapter(mined.adapter_files[0])
    about = adapter.about
    if not {"attribute", "setting", "init", "targets", "seed"} <= about.keys() or "outputs" in about:
        return None
    settings = AttributeSettings(
        attribute=about["attribute"], setting=about["setting"], seed=0, views=1, resolution=1, samples=1
    )
    (rank,) = {delta.rank for delta in adapter.deltas.values()}
    everything = adaptable_matrices(adapter.base.config)
    maker = LoRA({path: everything[path] for path in adapter.deltas}, rank, float(rank))
    key = first_draw(about["seed"], about["init"], settings, about["targets"])
    drawn = jax.device_get(initialize(maker, key, len(mined.adapter_files), about["init"]))
    return [{path: drawn[path].B[number] for path in drawn} for number in range(len(mined.adapter_files))]
