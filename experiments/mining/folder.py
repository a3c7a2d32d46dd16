"""The folder of one attribute's subspace, written by ``experiments.extract`` and read by whatever needs the subspace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from experiments.mining.origin import Origin
from experiments.mining.subspace_file import load_subspace, save_subspace
from experiments.storage.arguments import StrPath, path_of
from experiments.storage.files import read_json, reading, write_bytes
from subspace import LowRank, SharedSubspace
from subspace.errors import InputError
from vggt_jax.missing import no_folder
from vggt_jax.reading import typed
from vggt_jax.reading.safetensors_file import SafetensorsFile

if TYPE_CHECKING:
    from vggt_jax.adapters import BaseModel

SUBSPACE, SUMMARY, ADAPTERS = "subspace.safetensors", "summary.json", "adapters"
SNAPSHOTS = "snapshots"
"""Folder of adapters in the course of their training, as :func:`snapshot_folder` names them."""


def snapshot_folder(step: int) -> str:
    """Where the adapters of a step lie below :data:`SNAPSHOTS`."""
    return f"step_{step:06d}"


def write_folder(
    folder: Path,
    subspaces: Mapping[str, SharedSubspace],
    origin: Origin,
    matrices: Sequence[Mapping[str, Any]],
    adapters: Mapping[str, Path] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write what :func:`read_folder` reads into a folder that exists.

    Args:
        folder: gets :data:`SUBSPACE`, :data:`SUMMARY` and, with ``adapters``, the folder :data:`ADAPTERS`.
        subspaces: path → what was mined.
        origin: what it was mined from.
        matrices: the fields of :class:`experiments.mining.summary.MatrixSummary`, of every matrix of every layer, in the
            model's order; ``path`` and ``rank`` are needed.
        adapters: name → file of every adapter in ``origin``, to be copied.
        about: what else the summary says, as JSON can hold it.

    Raises OSError if something cannot be written.
    """
    save_subspace(folder / SUBSPACE, subspaces, origin)
    if adapters:
        (folder / ADAPTERS).mkdir()
        for name, file in adapters.items():
            shutil.copyfile(file, folder / ADAPTERS / f"{name}.safetensors")
    summary = {**(about or {}), "origin": asdict(origin), "matrices": list(matrices)}
    write_bytes(folder / SUMMARY, (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())


class _Matrix(msgspec.Struct, frozen=True):
    path: str
    rank: Annotated[int, msgspec.Meta(ge=1)]


class _Summary(msgspec.Struct, frozen=True):
    """What is read of a summary, which says more."""

    matrices: tuple[_Matrix, ...]


@dataclass(frozen=True, eq=False)
class MinedAttribute:
    """One folder of ``experiments.extract``: what k adapters of one attribute share in every matrix."""

    folder: Path
    """The folder that was read."""
    origin: Origin
    """What the subspace was mined from, and how."""
    factors: dict[str, LowRank]
    """path → the subspace, canonical A (*layers, n, d') = U Σ^½, B (*layers, m, d') = V Σ^½, NumPy float32."""
    statistics: dict[str, dict[str, np.ndarray]]
    """path → ``weights`` (*layers, k), ``singular_values`` and ``initial_singular_values`` (*layers, p) of C,
    ``residuals`` (*layers, k); k are the adapters that have the matrix."""
    ranks: dict[str, int]
    """path → r of the adapters."""
    adapter_files: tuple[Path, ...]
    """The k adapters in the order of the weights; none where the folder keeps no copies (imported ones)."""

    @property
    def attribute(self) -> str:
        """The attribute's name."""
        return self.origin.attribute

    @property
    def snapshots(self) -> dict[int, tuple[Path, ...]]:
        """Step → the files of the k adapters as they were then; of steps that have all of them."""
        found = {}
        for folder in sorted((self.folder / SNAPSHOTS).glob(snapshot_folder(0)[:5] + "*")):
            files = tuple(folder / f"{name}.safetensors" for name in self.origin.adapters)
            if folder.name[5:].isdecimal() and all(file.is_file() for file in files):
                found[int(folder.name[5:])] = files
        return found

    @cached_property
    def unchanged(self) -> set[str]:
        """Matrices in which all adapters are zero, as the camera head's without a camera loss: they share nothing."""
        return {path for path, factors in self.factors.items() if not np.any(factors.A)}

    def without(self, paths: Collection[str]) -> MinedAttribute:
        """The same of the other matrices."""
        kept = [path for path in self.factors if path not in paths]
        return replace(
            self,
            factors={path: self.factors[path] for path in kept},
            statistics={path: self.statistics[path] for path in kept if path in self.statistics},
            ranks={path: self.ranks[path] for path in kept},
        )

    def read_adapter(self, number: int) -> dict[str, LowRank]:
        """One adapter, path → A (*layers, n, r), B (*layers, m, r): read when it is needed.

        All adapters at once would be 2 GB for four attributes at VGGT-1B's size.

        Raises:
          InputError: a file that was damaged since :func:`read_folder`.
        """
        file = SafetensorsFile(self.adapter_files[number])
        with reading(file.path):
            return {
                path: LowRank(file.read_finite(f"{path}.A"), file.read_finite(f"{path}.B")) for path in self.factors
            }


@dataclass(frozen=True, eq=False)
class Inputs:
    """The attributes under study, of one base model, with equal matrices, layers and d'."""

    attributes: dict[str, MinedAttribute]
    """Attribute → what was mined for it, in the order in which the folders were named."""

    @property
    def names(self) -> list[str]:
        """The attributes' names."""
        return list(self.attributes)

    @property
    def first(self) -> MinedAttribute:
        """The first attribute, for what is the same in all of them."""
        return next(iter(self.attributes.values()))

    @property
    def paths(self) -> list[str]:
        """The adapted matrices, in the model's order."""
        return list(self.first.factors)

    @property
    def has_adapters(self) -> bool:
        """Whether every attribute comes with its adapters."""
        return all(mined.adapter_files for mined in self.attributes.values())


def read_inputs(folders: Sequence[Path]) -> Inputs:
    """Read and compare the folders.

    Raises:
      InputError: fewer than two attributes, one attribute twice, other base models, matrices, layers, sizes or d' (naming
        both folders and the first matrix that differs), a file that is missing, incomplete or damaged.
      OSError: a file that cannot be read.
    """
    if len(folders) < 2:
        named = f"only {folders[0]}" if folders else "nothing"
        raise InputError(f"the folders of at least two attributes are needed, got {named}", argument="subspaces")
    attributes: dict[str, MinedAttribute] = {}
    for folder in folders:
        mined = read_folder(folder, "subspaces")
        if mined.attribute in attributes:
            raise InputError(
                f"{attributes[mined.attribute].folder} and {folder} both hold the attribute {mined.attribute}; name one "
                "folder for each (further runs of an attribute are controls)",
                argument="subspaces",
            )
        if attributes:
            check_comparable(next(iter(attributes.values())), mined)
        attributes[mined.attribute] = mined
    return Inputs(attributes)


def read_folder(folder: StrPath, argument: str | None = None) -> MinedAttribute:
    """One folder of :func:`write_folder`; raises InputError and OSError as :func:`read_inputs`.

    Args:
        folder: an output of ``experiments.extract`` or of ``mine`` and ``add`` of ``experiments.adapters``.
        argument: what errors name if it is none.
    """
    folder = path_of(folder, argument or "folder")
    if not folder.is_dir():
        raise InputError(no_folder(folder), argument=argument)
    for name in (SUBSPACE, SUMMARY):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}, so it holds no mined subspace: `extract` and `adapters mine` make such folders",
                argument=argument,
            )
    stored = load_subspace(folder / SUBSPACE)
    ranks = _read_ranks(folder / SUMMARY)
    if missing := sorted(set(stored.factors) ^ set(ranks)):
        raise InputError(
            f"{folder}: {SUBSPACE} and {SUMMARY} do not belong together: only one of them has {missing[0]}"
        )
    paths = [path for path in ranks if path in stored.factors]
    mined = MinedAttribute(
        folder=folder,
        origin=stored.origin,
        factors={path: stored.factors[path] for path in paths},
        statistics={path: stored.statistics[path] for path in paths},
        ranks=ranks,
        adapter_files=_adapter_files(folder, stored.origin.adapters),
    )
    for file in mined.adapter_files:
        _check_adapter(file, mined)
    return mined


def check_base(mined: MinedAttribute, base: BaseModel, argument: str | None = None) -> None:
    """Raise InputError, of that argument, unless a subspace was mined from adapters of this base model."""
    if mined.origin.fingerprint != base.fingerprint:
        advice = "" if mined.origin.fingerprint else "; an extraction of its adapters with these weights records it"
        raise InputError(
            f"the base model of {mined.folder} is {mined.origin.base_label}, the weights are {base.name} "
            f"({base.fingerprint}){advice}",
            argument=argument,
        )


def check_comparable(first: MinedAttribute, other: MinedAttribute) -> None:
    """Raise InputError unless two folders hold subspaces of the same size in the same matrices of one base model."""
    if not other.origin.has_base_of(first.origin):
        raise InputError(
            f"the base model of {other.folder} is {other.origin.base_label}, that of {first.folder} is "
            f"{first.origin.base_label}"
        )
    if unshared := sorted(set(first.factors) ^ set(other.factors)):
        where = first.folder if unshared[0] in first.factors else other.folder
        raise InputError(f"{first.folder} and {other.folder} adapt different matrices: only {where} has {unshared[0]}")
    for path, factors in first.factors.items():
        found = other.factors[path]
        if found.shape != factors.shape:
            raise InputError(
                f"{other.folder}: {path} is {found.shape}, in {first.folder} it is {factors.shape}: other layers or sizes"
            )
        if found.rank != factors.rank:
            raise InputError(
                f"{other.folder}: the subspace of {path} has d'={found.rank}, in {first.folder} d'={factors.rank}; "
                "mine them with one dim"
            )


def _read_ranks(path: Path) -> dict[str, int]:
    """r of every matrix in the model's order."""
    try:
        rows = typed.convert(read_json(path), _Summary).matrices
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no summary of experiments.extract: {error}") from None
    ranks = {row.path: row.rank for row in rows}  # of each layer there is a row
    if wrong := [row.path for row in rows if row.rank != ranks[row.path]]:
        raise InputError(f"{path} is damaged: it gives {wrong[0]} several ranks")
    return ranks


def _adapter_files(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    files = tuple(folder / ADAPTERS / f"{name}.safetensors" for name in names)
    present = [file for file in files if file.is_file()]
    if present and len(present) < len(files):
        missing = next(file for file in files if file not in present)
        raise InputError(f"{missing} is missing, though the subspace was mined from it")
    return tuple(present)


def _check_adapter(file: Path, mined: MinedAttribute) -> None:
    """Names and shapes of an adapter's tensors, from the header alone."""
    stored = SafetensorsFile(file)
    stored.check_unique()
    shapes = {name: tensor.shape for name, tensor in stored.tensors.items()}
    expected = _factor_shapes(mined.factors, mined.ranks)
    if differing := sorted(name for name in expected.keys() | shapes if expected.get(name) != shapes.get(name)):
        name = differing[0]
        raise InputError(
            f"{file}: {name} is {shapes.get(name, 'missing')}, for {SUBSPACE} it must be {expected.get(name, 'absent')}"
        )


def _factor_shapes(factors: Mapping[str, LowRank], ranks: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for path, subspace in factors.items():
        shapes[f"{path}.A"] = (*subspace.A.shape[:-1], ranks[path])
        shapes[f"{path}.B"] = (*subspace.B.shape[:-1], ranks[path])
    return shapes
