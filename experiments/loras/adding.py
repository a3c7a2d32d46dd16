"""A further LoRA in a mined subspace, without those that it was mined from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from experiments.loras.collection import open_all
from experiments.loras.copies import write_copies
from experiments.loras.mining import OUTPUTS
from experiments.loras.report import Group, ranked, write_report
from experiments.loras.sketch_file import SKETCH, Sketches, load_sketches, save_sketches
from experiments.mining.folder import ADAPTERS, SUBSPACE, MinedAttribute, read_folder, write_folder
from experiments.mining.mine import Mined
from experiments.mining.origin import NOT_RECORDED
from experiments.mining.report import verdict
from experiments.mining.summary import MatrixSummary, rows
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import convert_fields
from experiments.storage.files import listed, sha256
from experiments.storage.identity import NO_EFFECT, identity
from experiments.storage.results import Ready, ResultsFolder
from subspace import Basis, LowRank, captured_energy, frobenius_norm
from subspace.errors import InputError
from subspace.grouping import Layout
from subspace.sketch import Sketch, shared_of_sketch
from weights_convert.lora_file import LoraFile

_VERSION = 1
SAME = 1e-5
"""LoRAs whose norms differ by less than this share in every matrix are one."""
NOTHING = 89.999
"""From so many degrees on a bound says nothing."""


@dataclass(frozen=True, kw_only=True)
class AddSettings:
    """What is added to what. Raises InputError for what is no path."""

    adapter: str
    """Place of the LoRA (:func:`weights_convert.lora_places.find_loras`)."""
    to: Path
    """Folder of :func:`experiments.loras.mining.mine_loras` or :func:`add_lora`."""
    low_rank_part: bool = False
    """Take the low-rank part of a DoRA."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that commands share."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the results; by default below the store."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""

    def __post_init__(self) -> None:
        convert_fields(self)


@dataclass(frozen=True, eq=False)
class AddedLora:
    """What :func:`add_lora` made."""

    folder: Path
    """The folder of results, to which further LoRAs can be added."""
    name: str
    """Of the new LoRA in it."""
    matrices: list[MatrixSummary]
    """One row for each matrix; what it says of earlier LoRAs are estimates."""
    share: float
    """Of the new LoRA's energy, in the subspace of the others."""
    chance: float
    """The same in random subspaces."""
    bounds: Mapping[str, float]
    """Matrix → degrees: the subspace of a mining of all LoRAs is proven to be no farther away; 90 says nothing."""
    remarks: tuple[str, ...]
    """What was left out."""
    seconds: float
    """Duration of this call."""


def ready(settings: AddSettings, reporter: Reporter = SILENT) -> Ready[AddedLora]:
    """What :func:`add_lora` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    if settings.output is not None and settings.output.resolve() == settings.to.resolve():
        raise InputError(
            f"{settings.output} is the subspace that is added to, which stays as it is; name another folder",
            argument="output",
        )
    loras = open_all((settings.adapter,), low_rank_part=settings.low_rank_part)
    if len(loras) != 1:
        raise InputError(f"one LoRA is added at a time, {settings.adapter} holds {len(loras)}", argument="adapter")
    mined, sketches = read_folder(settings.to, "to"), load_sketches(settings.to)
    ((name, lora),) = loras.items()
    content = {
        "subspace": [sha256(settings.to / file) for file in (SUBSPACE, SKETCH)],
        "adapter": [name, [sha256(file) for file in lora.files]],
        "low_rank_part": settings.low_rank_part,
        "versions": {"results": _VERSION},
    }
    results = ResultsFolder.of(settings, "adapters", mined.attribute, content, OUTPUTS)
    results.check()
    return Ready(results, lambda: _add(name, lora, mined, sketches, settings, results, start, reporter))


def add_lora(settings: AddSettings, reporter: Reporter = SILENT) -> AddedLora:
    """Write the subspace of a collection with one more LoRA; of the others only what the mined folder keeps is read.

    Args:
        settings: what is asked for.
        reporter: is told of progress.

    Raises:
        InputError: a folder that keeps no sketch or is the output, a LoRA of another model, one that is zero or that the
            collection has already, or results that may not be replaced.
        OSError: something that cannot be read or written.
    """
    return ready(settings, reporter).run()


def _add(
    name: str,
    lora: LoraFile,
    mined: MinedAttribute,
    sketches: Sketches,
    settings: AddSettings,
    results: ResultsFolder,
    start: float,
    reporter: Reporter,
) -> AddedLora:
    updates, remarks = _matched(lora, mined)
    name = _new_name(name.replace("/", "_"), updates, sketches, mined)
    owners = {path: (*sketches.owners[path], name) for path in updates}
    grown, found = {}, {}
    with reporter.progress(len(updates), "matrix", "add") as bar:
        for path, update in updates.items():
            grown[path] = sketches.matrices[path].with_adapter(update)
            found[path] = shared_of_sketch(grown[path], mined.factors[path].rank, alpha=mined.origin.exponent)
            bar.update(1)
    ranks = {path: max(mined.ranks[path], update.rank) for path, update in updates.items()}
    new = Mined(
        subspaces={path: each.examined.subspace for path, each in found.items()},
        captured={path: np.asarray(each.examined.captured) for path, each in found.items()},
        stability={path: x for path, each in found.items() if (x := each.examined.stability) is not None},
        ranks=ranks,
    )
    matrices = rows(new)
    bounds = {path: float(np.degrees(each.bound)) for path, each in found.items()}
    share, chance = _held_out(updates, mined)
    remarks += [f"added without the others at hand: {name}; what is said of the others are estimates", bounded(bounds)]
    origin = replace(mined.origin, adapters=(*mined.origin.adapters, name))
    norms = {each: _norms(each, owners, grown) for each in origin.adapters}
    group = Group(origin.adapters, owners, norms, mined.origin.base, (), tuple(remarks))
    about = {
        "settings": identity(settings),
        "verdict": verdict(matrices),
        "remarks": remarks,
        "loras": [asdict(row) for row in ranked(group, matrices)],
        "bounds": bounds,
    }
    with results.new() as folder:
        write_report(folder, mined.attribute, group, new, matrices, time.perf_counter() - start)
        write_folder(folder, new.subspaces, origin, [asdict(row) for row in matrices], about=about)
        save_sketches(folder / SKETCH, Sketches(owners, grown))
        if mined.adapter_files:
            copies = {each: mined.read_adapter(number).__getitem__ for number, each in enumerate(mined.origin.adapters)}
            layouts = {path: _layout(grown[path], ranks[path]) for path in updates}
            write_copies(folder / ADAPTERS, copies | {name: updates.__getitem__}, layouts, reporter)
    return AddedLora(results.path, name, matrices, share, chance, bounds, tuple(remarks), time.perf_counter() - start)


def bounded(bounds: Mapping[str, float]) -> str:
    """What the bounds of all matrices say, as a sentence."""
    proven = [value for value in bounds.values() if value < NOTHING]
    if not proven:
        return (
            "how far a mining of all LoRAs could be away is not proven for any matrix: that takes a gap in the spectrum after "
            "the dimensions of the subspace, and usually ten LoRAs"
        )
    return (
        f"in {len(proven)} of {len(bounds)} matrices a mining of all LoRAs is proven to be at most {max(proven):.2g}° away "
        f"(median {np.median(proven):.2g}°)"
    )


def _matched(lora: LoraFile, mined: MinedAttribute) -> tuple[dict[str, LowRank], list[str]]:
    """The updates of the matrices that both have, and what was left out."""
    paths = [path for path in mined.factors if path in lora.modules]
    if not paths:
        raise InputError(f"{lora.path} and {mined.folder} have no matrix in common", argument="adapter")
    for path in paths:
        if lora.modules[path].size != mined.factors[path].shape:
            raise InputError(
                f"{lora.path}: {path} is {lora.modules[path].size}, in {mined.folder} it is {mined.factors[path].shape}: "
                "another base model",
                argument="adapter",
            )
    updates = {path: lora.read(path) for path in paths}
    if not any(frobenius_norm(update) > 0 for update in updates.values()):
        raise InputError(f"{lora.path} is untrained, all of its updates are zero", argument="adapter")
    remarks = []
    if missing := [path for path in mined.factors if path not in lora.modules]:
        remarks.append(f"matrices that the new LoRA does not have, left out: {listed(missing)}")
    if more := [path for path in lora.modules if path not in mined.factors]:
        remarks.append(f"matrices that the subspace does not have, left out: {listed(more)}")
    if lora.base and mined.origin.base not in (lora.base, NOT_RECORDED):
        remarks.append(f"the base model is called {mined.origin.base} there and {lora.base} in the new LoRA")
    return updates, remarks


def _new_name(name: str, updates: Mapping[str, LowRank], sketches: Sketches, mined: MinedAttribute) -> str:
    """The name, with a number where it is taken. Raises InputError for a LoRA that the collection has."""
    norms = {path: float(frobenius_norm(update)) for path, update in updates.items()}
    for other in mined.origin.adapters:
        known = _norms(other, sketches.owners, sketches.matrices)
        if all(abs(norm - known.get(path, np.inf)) <= SAME * norm for path, norm in norms.items()):
            raise InputError(
                f"{name} is in {mined.folder} already, as {other}: its norms are the same in every matrix",
                argument="adapter",
            )
    taken, number, free = set(mined.origin.adapters), 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _norms(name: str, owners: Mapping[str, tuple[str, ...]], sketches: Mapping[str, Sketch]) -> dict[str, float]:
    """Matrix → ‖dW‖ of one LoRA."""
    return {path: float(np.sqrt(sketches[path].energy[own.index(name)])) for path, own in owners.items() if name in own}


def _held_out(updates: Mapping[str, LowRank], mined: MinedAttribute) -> tuple[float, float]:
    """Share of the energy of all matrices in the earlier subspace, and in random ones."""
    inside = whole = by_chance = 0.0
    for path, update in updates.items():
        energy, factors = float(frobenius_norm(update)) ** 2, mined.factors[path].to_numpy(np.float64)
        inside += energy * float(captured_energy(update.to_numpy(np.float64), Basis.of_canonical(factors, np.float32)))
        by_chance += energy * factors.rank**2 / (factors.shape[0] * factors.shape[1])
        whole += energy
    return inside / whole, by_chance / whole


def _layout(sketch: Sketch, rank: int) -> Layout:
    number = np.dtype(np.float32)
    return Layout(len(sketch.energy), (), len(sketch.outputs), len(sketch.inputs), rank, (number, number))
