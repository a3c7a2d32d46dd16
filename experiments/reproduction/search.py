"""Which learning rates are compared for a method on a task: the same rule for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


def first_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """The rates that every search begins with: the middle one and those beside it; a single one needs no search."""
    middle = len(rates) // 2
    return tuple(rates[max(0, middle - 1) : middle + 2]) if len(rates) > 1 else ()


def best_rate(losses: Mapping[float, float]) -> float:
    """The rate with the lowest loss, of equal ones the lowest, in whatever order they were tried."""
    return min(sorted(losses), key=losses.__getitem__)


def from_chosen(rates: Sequence[float], chosen: float) -> tuple[float, ...]:
    """What a run is trained with: the chosen rate or, where that does more harm than good, the next lower one, and so on.

    The rate of a method is chosen on its smallest row; with alpha = rank a larger one takes larger steps.
    """
    return (chosen, *(rate for rate in sorted(rates, reverse=True) if rate < chosen))


def still_to_compare(rates: Sequence[float], losses: Mapping[float, float]) -> tuple[float, ...]:
    """What a search lacks: first the first rates, then whatever stands beside the best so far; nothing once it is over.

    So the chosen rate is either better than both that stand beside it or the lowest or highest of all.

    Args:
        rates: all that may be tried, rising.
        losses: rate → loss on validation scenes, of those that were tried; infinite where training diverged.
    """
    missing = tuple(rate for rate in first_rates(rates) if rate not in losses)
    if missing or not losses:
        return missing
    best = rates.index(best_rate(losses))
    return tuple(rate for rate in rates[max(0, best - 1) : best + 2] if rate not in losses)


@dataclass(frozen=True)
class OpenSearch:
    """A search that is under way; its methods return what it becomes."""

    rates: Sequence[float]
    """All rates that may be tried, rising."""
    losses: Mapping[float, float] = field(default_factory=dict)
    """Rate → loss on validation scenes, of those that were tried; infinite where training diverged."""
    running: frozenset[float] = frozenset()
    """Rates that are being tried."""

    @property
    def next_rate(self) -> float | None:
        """The rate to try next; None: nothing before what is running has ended, or ever."""
        return next((rate for rate in still_to_compare(self.rates, self.losses) if rate not in self.running), None)

    @property
    def has_first(self) -> bool:
        """Whether all first rates have been tried."""
        return self.losses.keys() >= set(first_rates(self.rates))

    @property
    def chosen(self) -> float | None:
        """The best rate once the search is over, None before."""
        return None if still_to_compare(self.rates, self.losses) else best_rate(self.losses)

    def begun(self, rate: float) -> OpenSearch:
        """``rate`` is being tried."""
        return replace(self, running=self.running | {rate})

    def report(self, rate: float, loss: float) -> OpenSearch:
        """``rate`` has been tried and came to ``loss``."""
        return replace(self, losses={**self.losses, rate: loss}, running=self.running - {rate})
