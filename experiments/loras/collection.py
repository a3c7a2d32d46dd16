"""LoRAs of one model, opened and compared by their headers; updates are read one matrix at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from experiments.loras.same_start import described_equal, digest_of, groups_of, matrix_of
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import listed
from subspace import LowRank, frobenius_norm
from subspace.errors import InputError
from subspace.grouping import Layout, StacksOnDemand
from subspace.threads import one_thread
from weights_convert.lora_file import LoraFile, LoraModule
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_places import find_loras

Modules = Literal["intersection", "union"]
"""Which matrices count where LoRAs differ: those that all have, or those that at least two have, each with its own k."""
MODULES: tuple[Modules, ...] = get_args(Modules)


@dataclass(frozen=True, eq=False)
class Collection:
    """k LoRAs, none of which is untrained."""

    loras: Mapping[str, LoraFile]
    """Name → the opened LoRA."""
    owners: Mapping[str, tuple[str, ...]]
    """Matrix → the LoRAs that have it, at least two."""
    norms: Mapping[str, Mapping[str, float]]
    """LoRA → matrix → ‖dW‖."""
    same_start: tuple[tuple[str, ...], ...]
    """Groups of LoRAs whose input factors are nearly the same, as after one random draw."""
    remarks: tuple[str, ...]
    """What was left out, and why."""

    @cached_property
    def modules(self) -> dict[str, LoraModule]:
        """Matrix → its description in the first LoRA that has it."""
        return {path: self.loras[names[0]].modules[path] for path, names in self.owners.items()}

    @cached_property
    def base(self) -> str | None:
        """Name of the base model, if all LoRAs that record one agree."""
        bases = {lora.base for lora in self.loras.values() if lora.base}
        return bases.pop() if len(bases) == 1 else None

    def read(self, path: str) -> dict[str, LowRank]:
        """Name → update, of the LoRAs that have this matrix."""
        return {name: self.loras[name].read(path) for name in self.owners[path]}

    @cached_property
    def stacks(self) -> StacksOnDemand:
        """The updates of every matrix, adapters first, smaller ranks with zero columns."""
        return _Stacks(self)


class _Stacks(StacksOnDemand):
    def __init__(self, collection: Collection):
        self._collection = collection
        self._layouts = {}
        for path, names in collection.owners.items():
            rank = max(collection.loras[name].modules[path].rank for name in names)
            types = (np.dtype(np.float32), np.dtype(np.float32))
            self._layouts[path] = Layout(len(names), (), *collection.modules[path].size, rank, types)

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return self._layouts

    def __getitem__(self, path: str) -> LowRank:
        layout, updates = self._layouts[path], self._collection.read(path)
        A = np.zeros((layout.k, layout.n, layout.rank), np.float32)
        B = np.zeros((layout.k, layout.m, layout.rank), np.float32)
        for i, update in enumerate(updates.values()):
            A[i, :, : update.rank], B[i, :, : update.rank] = update.A, update.B
        return LowRank(A, B)


def open_all(places: Sequence[str], *, low_rank_part: bool = False) -> dict[str, LoraFile]:
    """Name → LoRA of what :func:`find_places` finds; raises as that and as ``open_lora``."""
    return {name: open_lora(path, low_rank_part=low_rank_part) for name, path in find_places(places).items()}


def find_places(places: Sequence[str]) -> dict[str, Path]:
    """Name → where a LoRA lies; raises as :func:`weights_convert.lora_places.find_loras`, and without any place."""
    if not places:
        raise InputError("LoRAs are needed: folders, files, patterns or lists", argument="adapters")
    return find_loras(places)


def collect(
    places: Sequence[str],
    *,
    modules: Modules = "intersection",
    low_rank_part: bool = False,
    reporter: Reporter = SILENT,
) -> Collection:
    """Open LoRAs, read all of them once, and leave out what does not count.

    Args:
        places: as :func:`weights_convert.lora_places.find_loras` takes them.
        modules: which matrices count where LoRAs differ.
        low_rank_part: take the low-rank parts of DoRAs.
        reporter: is told of progress.

    Raises:
        InputError: fewer than two trained LoRAs, names that cannot be printed, matrices of one name and two sizes, no common
            matrix, NaN or infinity, and what the readers refuse; naming the LoRA.
        OSError: what cannot be read.
    """
    loras = open_all(places, low_rank_part=low_rank_part)
    for name in loras:
        if not name.isprintable():  # bytes that are no UTF-8, too
            raise InputError(f"{name!a}: this name cannot be written in reports; rename it")
    _check_sizes(loras)
    with one_thread(), reporter.progress(len(loras), "LoRA", "look at them") as bar:  # factors are thin
        norms, starts = {}, {}
        for name, lora in loras.items():
            norms[name], starts[name] = _survey(lora)
            bar.update(1)
    untrained = [name for name, own in norms.items() if not any(own.values())]
    trained = {name: lora for name, lora in loras.items() if name not in untrained}
    if len(trained) < 2:
        without = f" (zero, so untrained: {listed(untrained)})" if untrained else ""
        raise InputError(f"at least two trained LoRAs are needed, got {len(trained)}{without}", argument="adapters")
    owners, left = _owners(trained, norms, modules)
    if not owners:
        raise InputError(f"the {len(trained)} LoRAs have no matrix in common", argument="adapters")
    remarks = [f"untrained (zero) and left out: {listed(untrained)}"] if untrained else []
    remarks += left
    apart = [name for name in trained if not any(norms[name][path] for path, own in owners.items() if name in own)]
    if apart:
        remarks.append(f"trained in no matrix that counts, left out: {listed(apart)}")
        trained = {name: lora for name, lora in trained.items() if name not in apart}
        owners = {path: tuple(name for name in own if name in trained) for path, own in owners.items()}
        owners = {path: own for path, own in owners.items() if len(own) > 1}
        if not owners:
            raise InputError(
                f"no two of the {len(trained) + len(apart)} LoRAs are trained in a matrix that they have in common",
                argument="adapters",
            )
    remarks += [described_equal(names) for names in _same(trained, norms)]
    beside = [name for name, lora in trained.items() if lora.left_out]
    if beside:
        remarks.append(f"saved beside a LoRA and left out (whole modules, biases): tensors of {listed(beside)}")
    remarks += sorted({f"of {name}: {remark}" for name, lora in trained.items() for remark in lora.remarks})
    bases = sorted({lora.base for lora in trained.values() if lora.base})
    if len(bases) > 1:
        remarks.append(f"they name different base models: {listed(bases)}")
    groups = tuple(group for group in groups_of({name: starts[name] for name in trained}) if len(group) > 1)
    return Collection(trained, owners, {name: norms[name] for name in trained}, groups, tuple(remarks))


def _check_sizes(loras: Mapping[str, LoraFile]) -> None:
    sizes: dict[str, tuple[str, tuple[int, int]]] = {}
    for name, lora in loras.items():
        for path, module in lora.modules.items():
            first, size = sizes.setdefault(path, (name, module.size))
            if size != module.size:
                raise InputError(
                    f"{name}: {path} is {module.size}, in {first} it is {size}: another base model", argument="adapters"
                )


def _owners(
    loras: Mapping[str, LoraFile], norms: Mapping[str, Mapping[str, float]], modules: Modules
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Matrix → the LoRAs that have it; what is left out, in words."""
    every = dict.fromkeys(path for lora in loras.values() for path in lora.modules)
    having = {path: tuple(name for name, lora in loras.items() if path in lora.modules) for path in every}
    zero = [path for path, names in having.items() if not any(norms[name][path] for name in names)]
    needed = len(loras) if modules == "intersection" else 2
    owners = {path: names for path, names in having.items() if len(names) >= needed and path not in zero}
    few = [path for path in having if path not in owners and path not in zero]
    said = [f"matrices that only some LoRAs have, left out: {listed(few)}"] if few else []
    return owners, said + ([f"matrices that no LoRA has trained, left out: {listed(zero)}"] if zero else [])


def _same(loras: Mapping[str, LoraFile], norms: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    """Groups of LoRAs with equal factors; only those with equal norms are read for it."""
    by_norms: defaultdict[tuple, list[str]] = defaultdict(list)
    for name in loras:
        by_norms[tuple(norms[name].items())].append(name)
    for alike in by_norms.values():
        same: defaultdict[str, list[str]] = defaultdict(list)
        for name in alike if len(alike) > 1 else ():
            lora = loras[name]
            same[digest_of((path, lora.read(path)) for path in lora.modules)].append(name)
        yield from (names for names in same.values() if len(names) > 1)


def _survey(lora: LoraFile) -> tuple[dict[str, float], tuple[str, np.ndarray]]:
    """‖dW‖ of every matrix; an orthonormal basis of the inputs of the one with the fewest inputs but enough for the rank."""
    norms, start = {}, None
    chosen = matrix_of({path: (module.size[1], module.rank) for path, module in lora.modules.items()})
    for path in lora.modules:
        update = lora.read(path)
        norms[path] = float(frobenius_norm(update))
        if path == chosen:
            start = np.linalg.qr(update.B.astype(np.float32))[0]
    assert start is not None
    return norms, (chosen, start)
