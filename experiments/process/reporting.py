"""How long work tells of itself: lines through Python's ``logging``, progress bars on a terminal.

Pipelines take a :class:`Reporter` and print nothing. Used from Python they are silent until the logger
``attribute_subspaces`` is configured as any other; commands call :func:`console`. A pipeline of several stages says so
(:meth:`Reporter.planned`): then each bar tells how long all of it will take, and what each stage took is on record.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from tqdm import tqdm

from experiments.process.stages import Stage, Stages, StageTime
from weights_convert.command_line import printable

LOGGER = logging.getLogger("attribute_subspaces")
"""The one logger of the project: INFO for what begins and ends, WARNING for what the user should look at."""


class Reporter:
    """Tells what a pipeline is doing: lines to :data:`LOGGER`, and bars where they are wanted."""

    def __init__(
        self, *, bars: bool = False, delay: float = 1.0, stages: Stages | None = None, afterwards: float = 0.0
    ):
        """``bars`` draws progress bars on stderr; without it only lines are logged."""
        self.bars = bars
        self.delay = delay
        self._stages = stages
        self._afterwards = afterwards

    @property
    def on_terminal(self) -> bool:
        """Whether a program that is started may draw its own bars on stderr."""
        return self.bars and os.isatty(2)

    @property
    def times(self) -> list[StageTime]:
        """What the stages of :meth:`planned` have taken so far."""
        return [] if self._stages is None else list(self._stages.times)

    def planned(self, stages: Sequence[Stage]) -> Reporter:
        """A reporter for these stages, whose bars tell how long all of them will take together."""
        return Reporter(bars=self.bars, delay=self.delay, stages=Stages(stages, self._afterwards))

    def before(self, seconds: float) -> Reporter:
        """A reporter for work after which more comes, which takes about so many seconds."""
        return Reporter(bars=self.bars, delay=self.delay, afterwards=seconds)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Within it a stage of :meth:`planned` runs; nothing happens without a plan."""
        return nullcontext() if self._stages is None else self._stages.measured(name)

    def info(self, line: str) -> None:
        """Log that something begins or has ended."""
        LOGGER.info("%s", line)

    def warning(self, line: str) -> None:
        """Log something that does not end the work and that the user should look at."""
        LOGGER.warning("%s", line)

    @contextmanager
    def progress(self, total: int, unit: str, description: str | None = None, *, initial: int = 0) -> Iterator[tqdm]:
        """A bar of ``total`` units, of which ``initial`` are done; call ``update(n)`` on what is yielded."""
        hidden: dict[str, Any] = {} if self.bars else {"disable": True}  # with bars, TQDM_DISABLE still decides
        kind = tqdm
        if self._stages is not None:
            kind, hidden = _BarOfMany, {**hidden, "stages": self._stages}
        with kind(
            total=total,
            initial=initial,
            unit=unit,
            desc=description,
            dynamic_ncols=True,
            smoothing=0.1,
            delay=self.delay,
            file=sys.stderr,
            **hidden,
        ) as bar:
            yield bar


class _BarOfMany(tqdm):
    """The bar of one stage, with what is left of all stages."""

    def __init__(self, *, stages: Stages, **options: Any):
        self._stages = stages
        super().__init__(bar_format=_FORMAT, **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's values for the format, and ``left``."""
        known = super().format_dict
        done, rate = known["n"] - known["initial"], known["rate"]
        if rate is None and done and known["elapsed"]:
            rate = done / known["elapsed"]
        left = self._stages.left(known["total"] - known["n"], 1 / rate if rate else None)
        return {**known, "left": tqdm.format_interval(left)}


_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}] {left} until the end"

SILENT = Reporter()
"""The default of every pipeline: lines go to the logger, no bars are drawn."""


class _Lines(logging.Handler):
    """Writes messages as plain lines to stderr, above the progress bars that are being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stderr)


def console() -> Reporter:
    """The reporter of a command: lines from INFO on and bars, both on stderr."""
    if not any(isinstance(handler, _Lines) for handler in LOGGER.handlers):
        LOGGER.addHandler(_Lines())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    return Reporter(bars=True)
