"""What comes next: pure states of a plan that is being worked off, and the actions between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from experiments.reproduction.plan import Plan, Run, Search
from experiments.reproduction.search import OpenSearch


@dataclass(frozen=True)
class TryRate:
    """Train a run with a learning rate, to compare the rate on validation scenes."""

    search: Search
    """What the rate is for."""
    run: Run
    """The run that all rates of the search are tried on."""
    rate: float
    """Peak learning rate."""


@dataclass(frozen=True)
class MakeRecord:
    """Fine-tune with the chosen learning rate, evaluate, and keep a record."""

    run: Run
    """What is run."""
    rate: float | None
    """Peak learning rate; None where nothing is trained."""


Action = TryRate | MakeRecord


@dataclass(frozen=True)
class PlanState:
    """What has not begun yet, and the searches of learning rates that it waits for; its methods return what it becomes."""

    order: Mapping[Run, int]
    """Run → its place in the plan."""
    waiting: tuple[Run, ...]
    """Runs whose record is not begun, in the plan's order."""
    searches: Mapping[Search, OpenSearch]
    """Searches that are under way; the first one that has a rate to try is the next to try one."""
    tried_on: Mapping[Search, Run]
    """Search → the run that its rates are tried on."""
    search_of: Mapping[Run, Search | None]
    """Run → what its rate is chosen for."""
    chosen: Mapping[Search, float]
    """Search → its rate, of those that are over."""

    @classmethod
    def at_first(cls, plan: Plan, finished: Collection[Run], chosen: Mapping[Search, float]) -> PlanState:
        """Before the first action.

        Args:
            plan: what is wanted.
            finished: runs that have a record.
            chosen: rates that are known.
        """
        runs = plan.runs
        waiting = tuple(run for run in runs if run not in finished)
        search_of = {run: plan.search_of(run) for run in runs}
        needed = dict.fromkeys(search_of[run] for run in waiting)
        open_searches = {
            search: OpenSearch(plan.scale.rates) for search in needed if search is not None and search not in chosen
        }
        order = {run: place for place, run in enumerate(runs)}
        return cls(order, waiting, open_searches, plan.searches, search_of, chosen)

    @property
    def next_action(self) -> Action | None:
        """The action to begin next: whichever of a run and a rate to try comes first in the plan.

        None where all that is left waits for actions that have begun.
        """
        ready = self._next_run()
        trial = self._next_trial()
        if trial is None or (ready is not None and self.order[ready.run] < self._first_that_needs(trial.search)):
            return ready
        return trial

    def begun(self, action: Action) -> PlanState:
        """``action`` is under way."""
        match action:
            case TryRate(search, _, rate):
                return replace(self, searches={**self.searches, search: self.searches[search].begun(rate)})
            case MakeRecord(run):
                return replace(self, waiting=tuple(other for other in self.waiting if other != run))

    def tried(self, action: TryRate, loss: float) -> PlanState:
        """``action`` came to ``loss``; a search that needs a rate beyond its first ones goes on before the others."""
        after = self.searches[action.search].report(action.rate, loss)
        others = {search: each for search, each in self.searches.items() if search != action.search}
        if after.chosen is not None:
            return replace(self, searches=others, chosen={**self.chosen, action.search: after.chosen})
        if after.has_first:
            return replace(self, searches={action.search: after, **others})
        return replace(self, searches={**self.searches, action.search: after})

    def _next_run(self) -> MakeRecord | None:
        for run in self.waiting:
            search = self.search_of[run]
            if search is None or search in self.chosen:
                return MakeRecord(run, None if search is None else self.chosen[search])
        return None

    def _first_that_needs(self, search: Search) -> int:
        return min(self.order[run] for run in self.waiting if self.search_of[run] == search)

    def _next_trial(self) -> TryRate | None:
        for search, each in self.searches.items():
            if each.next_rate is not None:
                return TryRate(search, self.tried_on[search], each.next_rate)
        return None
