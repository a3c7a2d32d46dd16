"""The shared subspace of a collection: a folder that every command reads which takes a mined attribute."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.loras.collection import Collection, Modules, collect
from experiments.loras.copies import write_copies
from experiments.loras.report import Group, ranked, write_report
from experiments.loras.sketch_file import SKETCH, Sketches, save_sketches
from experiments.mining.folder import ADAPTERS, SUBSPACE, SUMMARY, write_folder
from experiments.mining.mine import Mined, mine
from experiments.mining.origin import NOT_RECORDED, Origin
from experiments.mining.report import verdict
from experiments.mining.summary import MatrixSummary, rows
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import convert_fields
from experiments.storage.files import sha256
from experiments.storage.identity import NO_EFFECT, identity
from experiments.storage.results import Ready, ResultsFolder
from subspace.errors import InputError
from subspace.sketch import sketch_of

OUTPUTS = frozenset({SUBSPACE, SKETCH, ADAPTERS, SUMMARY, "figures", "report.html"})
_VERSION = 1
DIRECTIONS = 4
"""Directions of each side that are kept for adding LoRAs, as a multiple of the subspace's; at least twice the LoRAs' rank."""


@dataclass(frozen=True, kw_only=True)
class MineSettings:
    """What is mined, and how. Raises InputError for numbers out of range."""

    adapters: tuple[str, ...]
    """Places of the LoRAs (:func:`weights_convert.lora_places.find_loras`)."""
    label: str = "loras"
    """Name of the group, by which other commands know it."""
    dim: int = 8
    """d' of the shared subspace, at most k·r."""
    exponent: float = 1.0
    """Exponent of Eq. 1 in (0, 2]: 1 is robust to outliers, 2 is the plain mean."""
    modules: Modules = "intersection"
    """Which matrices count where LoRAs differ."""
    low_rank_part: bool = False
    """Take the low-rank parts of DoRAs."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that commands share."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the results; by default below the store."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not 0 < self.exponent <= 2:
            raise InputError(f"exponent must lie in (0, 2], got {self.exponent:g}", argument="exponent")
        if not self.label or "/" in self.label:
            raise InputError(f"label must be a plain name, got {self.label!r}", argument="label")


@dataclass(frozen=True, eq=False)
class MinedLoras:
    """What :func:`mine_loras` made."""

    folder: Path
    """The folder of results, which :func:`experiments.mining.folder.read_folder` reads."""
    collection: Collection
    """The LoRAs."""
    mined: Mined
    """What they share."""
    matrices: list[MatrixSummary]
    """One row for each matrix."""
    seconds: float
    """Duration of this call."""


def ready(settings: MineSettings, reporter: Reporter = SILENT) -> Ready[MinedLoras]:
    """What :func:`mine_loras` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    collection = collect(
        settings.adapters, modules=settings.modules, low_rank_part=settings.low_rank_part, reporter=reporter
    )
    content = {
        **{name: value for name, value in identity(settings).items() if name != "adapters"},
        "adapters": [[name, [sha256(file) for file in lora.files]] for name, lora in collection.loras.items()],
        "versions": {"results": _VERSION},
    }
    results = ResultsFolder.of(settings, "adapters", settings.label, content, OUTPUTS)
    results.check()
    return Ready(results, lambda: _mine(settings, collection, results, start, reporter), reporter)


def mine_loras(settings: MineSettings, reporter: Reporter = SILENT) -> MinedLoras:
    """Mine what LoRAs of any model share, and write it, one matrix in memory at a time.

    Args:
        settings: what is asked for.
        reporter: is told what begins, and of progress.

    Raises:
        InputError: what is wrong with settings or LoRAs, or results that may not be replaced.
        OSError: something that cannot be read or written.
    """
    return ready(settings, reporter).run()


def _mine(
    settings: MineSettings, collection: Collection, results: ResultsFolder, start: float, reporter: Reporter
) -> MinedLoras:
    for remark in collection.remarks:
        reporter.info(remark)
    reporter.info(f"mining {len(collection.owners)} matrices of {len(collection.loras)} LoRAs")
    mined = mine(collection.stacks, settings.dim, exponent=settings.exponent, reporter=reporter)
    found = rows(mined)
    names = _plain(collection.loras)
    base = collection.base or NOT_RECORDED
    origin = Origin(settings.label, base, None, settings.dim, settings.exponent, names)
    group = Group.of(collection)
    with results.new() as folder:
        about: dict[str, Any] = {
            "settings": identity(settings),
            "verdict": verdict(found),
            "remarks": list(collection.remarks),
            "same_start": [list(group) for group in collection.same_start],
            "loras": [asdict(row) for row in ranked(group, found)],
        }
        write_report(folder, settings.label, group, mined, found, time.perf_counter() - start)
        write_folder(folder, mined.subspaces, origin, [asdict(row) for row in found], about=about)
        save_sketches(
            folder / SKETCH, _sketches(collection, mined, dict(zip(collection.loras, names, strict=True)), reporter)
        )
        if settings.modules == "intersection":
            copies = {name: lora.read for name, lora in zip(names, collection.loras.values(), strict=True)}
            write_copies(folder / ADAPTERS, copies, collection.stacks.layouts, reporter)
    return MinedLoras(results.path, collection, mined, found, time.perf_counter() - start)


def _plain(loras: Iterable[str]) -> tuple[str, ...]:
    """Names that files can have, each another."""
    found: list[str] = []
    for name in loras:
        plain = free = name.replace("/", "_")
        number = 2
        while free in found:
            free, number = f"{plain}_{number}", number + 1
        found.append(free)
    return tuple(found)


def _sketches(collection: Collection, mined: Mined, names: Mapping[str, str], reporter: Reporter) -> Sketches:
    """What is kept so that LoRAs can be added."""
    found = {}
    with reporter.progress(len(collection.owners), "matrix", "keep what adding needs") as bar:
        for path, subspace in mined.subspaces.items():
            directions = max(DIRECTIONS * subspace.factors.rank, 2 * mined.ranks[path])
            found[path] = sketch_of(collection.stacks[path], np.asarray(subspace.weights), directions)
            bar.update(1)
    return Sketches({path: tuple(names[each] for each in own) for path, own in collection.owners.items()}, found)
