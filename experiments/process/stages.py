"""The stages of long work: what they took, and how long the rest of all of it will take."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from experiments.process.compilation_cache import PROGRAMS


@dataclass(frozen=True)
class Stage:
    """A stage that lies ahead."""

    name: str
    """What it is called in records."""
    units: int
    """What is to be done, in the units of the stage's progress bar; 1 where it has none."""
    unit_seconds: float
    """Seconds of a unit, as far as they are known before; what is measured takes their place."""


@dataclass(frozen=True)
class StageTime:
    """What a stage took."""

    name: str
    """The stage."""
    seconds: float
    """Duration."""
    cpu_seconds: float
    """Processor time of all threads, and of processes that were started and have ended."""
    compiled: int
    """Programs that were compiled, not found in the cache; of threads beside it, too."""
    found: int
    """Programs that were found in the cache."""


_FACTOR = 5.0


class Stages:
    """Stages one after another: measures those that have been, and estimates what is left.

    Args:
        ahead: all of them, in their order.
        afterwards: expected seconds of what comes after them.
    """

    def __init__(self, ahead: Sequence[Stage], afterwards: float = 0.0):
        self._ahead = list(ahead)
        self._afterwards = afterwards
        self._slowness = 1.0
        self.times: list[StageTime] = []

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Within it the stage of that name runs; the stages before it are over."""
        while self._ahead and self._ahead[0].name != name:
            del self._ahead[0]
        start = _Moment.now()
        yield
        self.times.append(_Moment.now().since(start, name))

    def left(self, to_do: int, unit_seconds: float | None) -> float:
        """Seconds until the end of all stages.

        A stage that takes twice as long as was expected tells that the later ones will, too; of more than five times as long,
        or short, it tells that the expectation was wrong, and no more of the later ones.

        Args:
            to_do: units that the stage that runs has not done yet.
            unit_seconds: how long a unit of it takes, as measured; None where that is not known yet.
        """
        if not self._ahead:
            return self._afterwards * self._slowness
        current, *later = self._ahead
        if unit_seconds is not None:
            self._slowness = min(max(unit_seconds / current.unit_seconds, 1 / _FACTOR), _FACTOR)
        else:
            unit_seconds = self._slowness * current.unit_seconds
        after = sum(stage.units * stage.unit_seconds for stage in later) + self._afterwards
        return unit_seconds * to_do + self._slowness * after


@dataclass(frozen=True)
class _Moment:
    wall: float
    cpu: float
    compiled: int
    found: int

    @classmethod
    def now(cls) -> _Moment:
        used = os.times()
        cpu = used.user + used.system + used.children_user + used.children_system
        return cls(time.monotonic(), cpu, PROGRAMS.compiled, PROGRAMS.found)

    def since(self, start: _Moment, name: str) -> StageTime:
        return StageTime(
            name,
            round(self.wall - start.wall, 2),
            round(self.cpu - start.cpu, 2),
            self.compiled - start.compiled,
            self.found - start.found,
        )
