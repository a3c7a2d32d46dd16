"""The runs that some tables need, each once, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from experiments.data.manifest import Split, Task
from experiments.finetuning.methods import METHODS
from experiments.mining.allocation import Allocation
from experiments.presets import Scale
from experiments.reproduction.rows import PATTERNS, TABLES, ModelPart, PaperTable, Row, TableName
from experiments.reproduction.search import first_rates
from experiments.scenes.schema import Attribute, Setting
from vggt_jax.patterns import HEADS

_PARTS: Mapping[tuple[str, ...], ModelPart] = {patterns: part for part, patterns in PATTERNS.items()}


class Search(NamedTuple):
    """What one learning rate is chosen for: a method on a part of the model, for a task."""

    task: Task
    method: str
    part: ModelPart = "all"

    @property
    def variant(self) -> str:
        """The method by the part that it changes, if that is not all of the model: ``lora``, ``lora_heads``."""
        return _joined(self.method, self.part)


@dataclass(frozen=True)
class Subspaces:
    """What is mined for the rows of one method."""

    attributes: tuple[Attribute, ...]
    """Attributes with a subspace each."""
    setting: Setting
    """Setting in which they are mined."""
    mined_rank: int
    """r of the adapters that they are mined from, in the paper's numbers."""


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

    @property
    def part(self) -> ModelPart:
        """The part of the model that the method changes."""
        return _PARTS[self.matrices]

    @property
    def name(self) -> str:
        """What its record's file is called: different for different runs of one scale."""
        if self.method is None:
            return f"{self.task}_base"
        parts = [self.task, self.method]
        if self.size:
            parts.append(f"{self.size}")
        if self.subspaces is not None:
            parts += [f"r{self.subspaces.mined_rank}", *([self.allocation] * (self.allocation != "uniform"))]
        return f"{_joined('_'.join(parts), self.part)}_seed{self.seed}"

    @property
    def search(self) -> Search | None:
        """What its learning rate is chosen for; None: nothing is trained."""
        return None if self.method is None else Search(self.task, self.method, self.part)


def _joined(name: str, part: ModelPart) -> str:
    return name if part == "all" else f"{name}_{part}"


def run_of(row: Row, table: PaperTable, scale: Scale, seed: int) -> Run:
    """The run behind a row."""
    subspaces = None
    options = {} if row.method is None else METHODS[row.method].options
    if "subspaces" in options:
        subspaces = Subspaces(table.attributes, table.setting, row.mined_rank or scale.mined_rank)
    return Run(
        task=table.task,
        method=row.method,
        size=row.size,
        matrices=row.matrices,
        plain=HEADS if "plain" in options else (),
        subspaces=subspaces,
        allocation=row.allocation if subspaces else "",
        seed=0 if row.method is None else seed,
    )


@dataclass(frozen=True)
class Plan:
    """Everything that some tables need for some seeds."""

    tables: tuple[PaperTable, ...]
    seeds: tuple[int, ...]
    scale: Scale

    @property
    def runs(self) -> list[Run]:
        """Each once: seed by seed, so that one seed's tables are there first."""
        return list(
            dict.fromkeys(
                run_of(row, table, self.scale, seed)
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
    def extractions(self) -> list[tuple[Attribute, Setting, int]]:
        """(attribute, setting, the paper's r) of every subspace."""
        needed = dict.fromkeys(run.subspaces for run in self.runs if run.subspaces is not None)
        return list(dict.fromkeys((name, each.setting, each.mined_rank) for each in needed for name in each.attributes))

    @property
    def searches(self) -> dict[Search, Run]:
        """For each search the run whose rates are compared: the first that needs it, with the first seed."""
        found: dict[Search, Run] = {}
        for run in self.runs:
            if run.search is not None:
                found.setdefault(run.search, run)
        return found

    def trainings(self) -> int:
        """Fine-tunings, those that are only there to compare learning rates included; a search may need one or two more."""
        trained = [run for run in self.runs if run.method is not None]
        return len(trained) + len(self.searches) * max(0, len(first_rates(self.scale.rates)) - 1)

    def hours(self) -> float:
        """Of the scale's machine, if nothing has been done before."""
        minutes = self.trainings() * self.scale.minutes + len(self.extractions) * self.scale.extraction_minutes
        return minutes / 60


def make_plan(names: Sequence[TableName], seeds: Sequence[int], scale: Scale) -> Plan:
    """The plan for tables of these names."""
    return Plan(tuple(TABLES[name] for name in names), tuple(dict.fromkeys(seeds)), scale)


def describe(plan: Plan) -> Iterator[str]:
    """What is about to happen, line by line."""
    scale = plan.scale
    for table in plan.tables:
        yield f"Table {table.name.upper()}: {table.title}; {len(table.rows)} rows"
    compared = len(first_rates(scale.rates))
    rates = f"{compared} learning rates or more for each of {len(plan.searches)} methods and tasks, " * (compared > 0)
    yield (
        f"{len(plan.extractions)} subspaces, {rates}{plan.trainings()} fine-tunings for seed(s) "
        f"{', '.join(map(str, plan.seeds))}"
    )
    yield f"about {_time(plan.hours())} on {scale.machine}, less what has been done already"


def _time(hours: float) -> str:
    if hours < 2:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
