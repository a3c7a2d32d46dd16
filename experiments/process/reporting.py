"""How long work tells of itself: lines through Python's ``logging``, progress bars on a terminal.

Pipelines take a :class:`Reporter` and print nothing. Used from Python they are silent until the logger
``attribute_subspaces`` is configured as any other; commands call :func:`console`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LOGGER = logging.getLogger("attribute_subspaces")
"""The one logger of the project: INFO for what begins and ends, WARNING for what the user should look at."""


class Reporter:
    """Tells what a pipeline is doing: lines to :data:`LOGGER`, and bars where they are wanted."""

    def __init__(self, *, bars: bool = False, delay: float = 1.0):
        """``bars`` draws progress bars on stderr; without it only lines are logged."""
        self.bars = bars
        self.delay = delay

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
        with tqdm(
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


SILENT = Reporter()
"""The default of every pipeline: lines go to the logger, no bars are drawn."""


class _Lines(logging.Handler):
    """Writes messages as plain lines to stderr, above the progress bars that are being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def console() -> Reporter:
    """The reporter of a command: lines from INFO on and bars, both on stderr."""
    if not any(isinstance(handler, _Lines) for handler in LOGGER.handlers):
        LOGGER.addHandler(_Lines())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    return Reporter(bars=True)
