"""The runs that some tables need, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import msgspec

from experiments.data.manifest import Split, Task
from experiments.finetuning.methods import METHODS
from experiments.mining.allocation import Allocation
from experiments.mining.origin import Updates
from experiments.presets import Scale
from experiments.reproduction.rows import EVERY_TABLE, PATTERNS, ModelPart, PaperTable, Row, TableName
from experiments.scenes.schema import Attribute, Setting
from vggt_jax.patterns import HEADS

Minings = Literal["one", "each"]
"""Whether all seeds share one mining, or every seed has a mining of its own, with adapters and data of its own."""
RatesFor = Literal["method", "row"]
"""What a learning rate is searched for: the smallest row of a method on a task, or every row."""

ValidateOn = Literal["training", "test"]
"""What rates are compared on: the last scenes of the training data, or further scenes of the test data's kind."""

_PARTS: Mapping[tuple[str, ...], ModelPart] = {patterns: part for part, patterns in PATTERNS.items()}


class Search(NamedTuple):
    """What one learning rate is chosen for: a method on a part of the model, for a task; or one row of it."""

    task: Task
    method: str
    part: ModelPart = "all"
    row: str = ""
    """Sizes of the row, where each has a search of its own."""

    @property
    def variant(self) -> str:
        """The method by the part that it changes, if that is not all of the model: ``lora``, ``lora_heads``; and its row."""
        return "_".join([_joined(self.method, self.part), *([self.row] * bool(self.row))])


@dataclass(frozen=True)
class Subspaces:
    """What is mined for the rows of one method."""

    attributes: tuple[Attribute, ...]
    """Attributes with a subspace each."""
    setting: Setting
    """Setting in which they are mined."""
    mined_rank: int
    """r of the adapters that they are mined from, in the paper's numbers."""
    mining: int | msgspec.UnsetType = msgspec.UNSET
    """Seed of the mining, where it is not the one that all seeds may share, that of seed 0."""
    updates: Updates | msgspec.UnsetType = msgspec.UNSET
    """What they are mined from, where that is no trained LoRAs."""
    mined_dim: int | msgspec.UnsetType = msgspec.UNSET
    """d', in the paper's numbers, where it is not that of the main tables."""


@dataclass(frozen=True)
class Run:
    """A fine-tuning and its evaluation on the task's test sets; rows of several tables may stand for the same one."""

    task: Task
    """Task that is fine-tuned for."""
    method: str | None
    """Method of fine-tuning; None: nothing is trained."""
    size: int
    """Rank or dimension in the paper's numbers; 0 for what has none."""
    matrices: tuple[str, ...]
    """Patterns of the matrices that the method changes: those of a :data:`~experiments.reproduction.rows.ModelPart`."""
    plain: tuple[str, ...]
    """Patterns of the matrices that get a plain LoRA beside an M."""
    subspaces: Subspaces | None
    """What the M lies in, of the method subspace."""
    allocation: Allocation | Literal[""]
    """How directions are spent on the layers, of the method subspace."""
    seed: int
    """Seed of what is drawn and of the order of the data."""
    constant_depth: bool | msgspec.UnsetType = msgspec.UNSET
    """True where every pixel of a scene gets the median of what is predicted of it."""

    @property
    def part(self) -> ModelPart:
        """The part of the model that the method changes."""
        return _PARTS[self.matrices]

    @property
    def name(self) -> str:
        """What its record's file is called: different for different runs of one scale."""
        if self.method is None:
            return f"{self.task}_base" if self.constant_depth is msgspec.UNSET else f"{self.task}_constant_depth"
        parts = [self.task, self.method, *self._sizes]
        if self.subspaces is not None and self.subspaces.mining is not msgspec.UNSET:
            parts.append(f"mining{self.subspaces.mining}")
        return f"{_joined('_'.join(parts), self.part)}_seed{self.seed}"

    @property
    def search(self) -> Search | None:
        """What its learning rate is chosen for, if that is the method; None: nothing is trained."""
        return None if self.method is None else Search(self.task, self.method, self.part)

    @property
    def own_search(self) -> Search | None:
        """The search of its row, if every row has one."""
        return None if self.search is None else self.search._replace(row="_".join(self._sizes) or "row")

    @property
    def first(self) -> Run:
        """The same with the seed that rates are compared with, whatever seeds are asked for."""
        shared = self.subspaces and replace(self.subspaces, mining=msgspec.UNSET)
        return replace(self, seed=0, subspaces=shared)

    @property
    def _sizes(self) -> list[str]:
        found = [f"{self.size}"] * bool(self.size)
        if self.subspaces is not None:
            own = self.subspaces
            found += [f"r{own.mined_rank}", *([self.allocation] * (self.allocation != "uniform"))]
            found += [own.updates] if own.updates is not msgspec.UNSET else []
            found += [f"of{own.mined_dim}"] if own.mined_dim is not msgspec.UNSET else []
        return found


def _joined(name: str, part: ModelPart) -> str:
    return name if part == "all" else f"{name}_{part}"


def run_of(row: Row, table: PaperTable, scale: Scale, seed: int, minings: Minings = "one") -> Run:
    """The run behind a row."""
    subspaces = None
    options = {} if row.method is None else METHODS[row.method].options
    if "subspaces" in options:
        mining = seed if minings == "each" and seed else msgspec.UNSET
        subspaces = Subspaces(
            table.attributes,
            table.setting,
            row.mined_rank or scale.mined_rank,
            mining,
            msgspec.UNSET if row.updates == "lora" else row.updates,
            row.mined_dim or msgspec.UNSET,
        )
    return Run(
        task=table.task,
        method=row.method,
        size=row.size,
        matrices=row.matrices,
        plain=HEADS if "plain" in options else (),
        subspaces=subspaces,
        allocation=row.allocation if subspaces else "",
        seed=0 if row.method is None else seed,
        constant_depth=row.constant_depth or msgspec.UNSET,
    )


@dataclass(frozen=True)
class Plan:
    """Everything that some tables need for some seeds."""

    tables: tuple[PaperTable, ...]
    seeds: tuple[int, ...]
    scale: Scale
    minings: Minings = "one"
    rates_for: RatesFor = "method"
    validate_on: ValidateOn = "training"

    @property
    def runs(self) -> list[Run]:
        """Each once: seed by seed, so that one seed's tables are there first."""
        return list(
            dict.fromkeys(
                run_of(row, table, self.scale, seed, self.minings)
                for seed in self.seeds
                for table in self.tables
                for row in table.rows
            )
        )

    @property
    def tests(self) -> list[tuple[Task, Split]]:
        """The test sets of all tables."""
        return list(dict.fromkeys((table.task, split) for table in self.tables for split, _ in table.tests))

    @property
    def extractions(self) -> list[Subspaces]:
        """Every subspace that is mined, each of one attribute."""
        return extractions_of((*self.runs, *self.searches.values()))

    def search_of(self, run: Run) -> Search | None:
        """What the learning rate of a run is chosen for; None: nothing is trained."""
        return run.search if self.rates_for == "method" else run.own_search

    @property
    def searches(self) -> dict[Search, Run]:
        """For each search the run whose rates are compared, with seed 0: its row, or the method's smallest row in any table.

        So it does not depend on which tables and seeds are asked for first.
        """
        found: dict[Search, Run] = {}
        smallest = _smallest_rows(self.scale)
        for run in self.runs:
            search = self.search_of(run)
            if search is not None and run.search is not None:
                found[search] = smallest[run.search] if self.rates_for == "method" else run.first
        return found


def extractions_of(runs: Iterable[Run]) -> list[Subspaces]:
    """The subspaces that runs need, each of one attribute and once."""
    needed = dict.fromkeys(run.subspaces for run in runs if run.subspaces is not None)
    return list(dict.fromkeys(replace(each, attributes=(name,)) for each in needed for name in each.attributes))


def _smallest_rows(scale: Scale) -> dict[Search, Run]:
    """Of each method, part and task, over all tables; of equally small ones the first."""
    found: dict[Search, Run] = {}
    for table in EVERY_TABLE.values():
        for row in table.rows:
            run = run_of(row, table, scale, 0)
            if run.search is not None and (run.search not in found or run.size < found[run.search].size):
                found[run.search] = run
    return found


def make_plan(
    names: Sequence[TableName],
    seeds: Sequence[int],
    scale: Scale,
    minings: Minings = "one",
    rates_for: RatesFor = "method",
    validate_on: ValidateOn = "training",
) -> Plan:
    """The plan for tables of these names."""
    tables = tuple(EVERY_TABLE[name] for name in names)
    return Plan(tables, tuple(dict.fromkeys(seeds)), scale, minings, rates_for, validate_on)
