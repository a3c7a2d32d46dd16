"""VGGT in PyTorch and here: folders that begin in a mined subspace, and what was trained from them in ``finetune``'s form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.loras.starting import Start, write_folder
from experiments.mining.folder import MinedAttribute, check_base
from experiments.mining.union import unite
from subspace import Basis, LowRank, captured_energy, frobenius_norm, project
from subspace.errors import InputError
from vggt_jax.adapters import Adapter, BaseModel, save_adapter
from vggt_jax.adapters.file import KEY
from vggt_jax.atomic import check_absent
from weights_convert.lora_file import LoraFile
from weights_convert.lora_write import check_name
from weights_convert.peft import official_modules, stack_official

OUTSIDE = 1e-4
"""Share of the energy that may lie outside of the subspace: rounding of what was trained in half precision."""


def write_vggt_start(folder: Path, subspace: MinedAttribute, base: BaseModel) -> int:
    """:func:`experiments.loras.starting.write_start` for the official VGGT, without a LoRA as an example.

    Raises:
        InputError: a subspace of another model.
        FileExistsError: the folder exists.
    """
    bases, starts = _bases(subspace, base), {}
    for name, module in official_modules(base.config).items():
        if module.path not in bases:
            continue
        own = bases[module.path]
        of_layer = Basis(*(x if module.layer is None else x[module.layer] for x in _leaves(own)))
        if int(of_layer.output_rank) and int(of_layer.input_rank):  # else no adapter had this layer
            starts[name] = Start(of_layer.narrowed(), module.weight)
    return write_folder(folder, starts, base=None)


def convert_to_project(lora: LoraFile, path: Path, base: BaseModel, subspace: MinedAttribute | None) -> list[str]:
    """Write a LoRA of the official VGGT as an adapter of this project, and say what it has become.

    Args:
        lora: the LoRA.
        path: the new file, whose name ends in ``.safetensors``.
        base: the model that it belongs to.
        subspace: where it was trained inside of it: the adapter is then Ā M B̄ᵀ in the bases that ``finetune`` makes of it.

    Raises:
        InputError: an adapter of this project, modules that VGGT does not have, an update that is not inside the subspace.
        FileExistsError: the file exists.
        OSError: it cannot be written.
    """
    check_name(path, "project")
    check_absent(path)
    if KEY in lora.tensors.metadata:
        raise InputError(f"{lora.path} is an adapter of this project already, which needs no conversion", argument="to")
    stacked = stack_official({name: lora.read(name) for name in lora.modules}, base.config, lora.path)
    deltas = {name: x.to_numpy(np.float64) for name, x in stacked.items()}
    said = []
    if subspace is not None:
        deltas, outside = _inside(deltas, _bases(subspace, base), lora.path, subspace)
        said = [f"M inside the subspace of {subspace.attribute}; {outside:.1e} of the energy was outside of it"]
    stored = {name: x.to_numpy(np.float32) for name, x in deltas.items()}
    method = {"method": "subspace" if subspace is not None else "lora", "converted_from": lora.path.name}
    save_adapter(path, Adapter(stored, base, about=method))
    return said


def _inside(
    deltas: Mapping[str, LowRank], bases: Mapping[str, Basis], source: Path, subspace: MinedAttribute
) -> tuple[dict[str, LowRank], float]:
    """Every update as Ā M B̄ᵀ, and the share of the energy that is lost with it."""
    found, lost, whole = {}, 0.0, 0.0
    for path, delta in deltas.items():
        if path not in bases:
            raise InputError(f"{subspace.folder} has no subspace for {path} of {source}", argument="basis")
        found[path] = bases[path].expand(project(delta, bases[path]))
        energy = np.asarray(frobenius_norm(delta)) ** 2
        lost += float(np.sum(energy * (1 - np.asarray(captured_energy(delta, bases[path])))))
        whole += float(np.sum(energy))
    share = lost / whole if whole > 0 else 0.0
    if share > OUTSIDE:
        raise InputError(
            f"{share:.1%} of the energy of {source} lies outside of {subspace.folder}: it was not trained inside of it; "
            "without a basis it is converted as it is",
            argument="basis",
        )
    return found, share


def _bases(subspace: MinedAttribute, base: BaseModel) -> dict[str, Basis]:
    """As ``finetune`` makes them of one attribute, in float64."""
    check_base(subspace, base, "basis")
    dims = {path: np.full((1, *x.A.shape[:-2]), x.rank) for path, x in subspace.factors.items()}
    square = unite({subspace.attribute: subspace}, dims).square()
    return {path: _float64(basis) for path, basis in square.items()}


def _float64(basis: Basis) -> Basis:
    A, B, *others = _leaves(basis)
    return Basis(A.astype(np.float64), B.astype(np.float64), *others)


def _leaves(basis: Basis) -> list[np.ndarray]:
    parts = basis.A, basis.B, basis.output_rank, basis.input_rank, basis.output_spectrum, basis.input_spectrum
    return [np.asarray(part) for part in parts]
