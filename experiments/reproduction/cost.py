"""What a plan still costs, beside the records that are there."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from experiments.reproduction.plan import Plan, Run, Search, Subspaces, extractions_of
from experiments.reproduction.search import first_rates


@dataclass(frozen=True)
class Cost:
    """What is left of a plan, by its records.

    What a store holds, subspaces or fine-tunings that were interrupted, is not known here and would cost less.
    """

    plan: Plan
    """All that is wanted."""
    done: Set[Run] = frozenset()
    """Runs that have a record."""
    chosen: Set[Search] = frozenset()
    """Searches whose learning rate is recorded."""

    @property
    def runs(self) -> list[Run]:
        """Runs that are left."""
        return [run for run in self.plan.runs if run not in self.done]

    @property
    def needed(self) -> dict[Search, Run]:
        """The learning rates that the runs left need, each with the run on which it is searched for."""
        searches = {self.plan.search_of(run) for run in self.runs}
        return {search: run for search, run in self.plan.searches.items() if search in searches}

    @property
    def searches(self) -> dict[Search, Run]:
        """Those of the needed rates that are not known yet."""
        return {search: run for search, run in self.needed.items() if search not in self.chosen}

    @property
    def extractions(self) -> list[Subspaces]:
        """Subspaces that the runs left need, each of one attribute."""
        return extractions_of((*self.runs, *self.searches.values()))

    @property
    def trainings(self) -> int:
        """Fine-tunings, those that are only there to compare learning rates included; a search may need one or two more."""
        trained = {run for run in self.runs if run.method is not None}
        compared = len(first_rates(self.plan.scale.rates))
        return len(trained) + sum(max(0, compared - (run in trained)) for run in self.searches.values())

    @property
    def hours(self) -> float:
        """Hours on the machine of the plan's scale."""
        scale = self.plan.scale
        adapters = sum(scale.datasets[subspaces.setting] for subspaces in self.extractions)
        return (self.trainings * scale.minutes + adapters * scale.adapter_minutes) / 60


def describe(cost: Cost) -> Iterator[str]:
    """What is about to happen, line by line."""
    plan = cost.plan
    for table in plan.tables:
        yield f"{table.heading}; {len(table.rows)} rows"
    if not cost.runs:
        yield f"all {len(plan.runs)} runs have a record"
        return
    if cost.done:
        yield f"{len(plan.runs) - len(cost.runs)} of {len(plan.runs)} runs have a record and are not run again"
    yield (
        f"{len(cost.extractions)} subspaces, {cost.trainings} fine-tunings for seed(s) "
        f"{', '.join(map(str, plan.seeds))}{_rates(cost)}"
    )
    yield f"about {_time(cost.hours)} on {plan.scale.machine}, less what the store has of them"


def _rates(cost: Cost) -> str:
    """How many learning rates are to be compared, and for what; nothing where there is only one."""
    compared = len(first_rates(cost.plan.scale.rates))
    if not compared or not cost.needed:
        return ""
    if not cost.searches:
        return "; all learning rates are known"
    what = "methods and tasks" if cost.plan.rates_for == "method" else "rows"
    known = len(cost.needed) - len(cost.searches)
    beside = f", those of {known} are known" * (known > 0)
    return f"; {compared} learning rates or more for each of {len(cost.searches)} {what}{beside}"


def _time(hours: float) -> str:
    if hours < 2:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
