"""Figures as files for a paper and for the page: PNG, PDF and SVG, several figures at a time.

What costs is Python's part of the drawing, which keeps one core busy. So further processes draw too, as soon as there is
something to draw; in the end this process takes what none of them has begun, which is everything where there is one core.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from matplotlib.figure import Figure

from experiments.process.cores import available_cores

DPI = 200
"""Of the PNG files."""


class Drawings:
    """A context manager, within which figures are added and saved."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}
        self._waiting: dict[str, Future[_Drawn]] = {}
        helpers = len(available_cores()) - 1
        # not forked: JAX has threads, whose locks a fork would copy in any state
        self._pool = ProcessPoolExecutor(helpers, mp_context=get_context("spawn")) if helpers else None

    def __enter__(self) -> Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, figures: Mapping[str, Figure]) -> None:
        """Begin to draw, where there is another core; ``figures`` are file name → figure and do not change any more."""
        self._figures |= figures
        if self._pool is not None:
            self._waiting |= {name: self._pool.submit(_draw, figure) for name, figure in figures.items()}

    def save(self, folder: Path) -> dict[str, str]:
        """Write ``NAME.png`` and ``NAME.pdf`` of every figure, whose layout is settled then.

        Args:
          folder: where to; it exists.

        Returns:
          The figures' names → SVG, for :func:`experiments.reports.page.plot`.

        Raises:
          OSError: a file cannot be written.
        """
        drawn = {
            name: _draw(figure)
            for name, figure in reversed(self._figures.items())
            if name not in self._waiting or self._waiting[name].cancel()
        }
        for name in self._figures:
            drawing = drawn[name] if name in drawn else self._waiting[name].result()
            (folder / f"{name}.png").write_bytes(drawing.png)
            (folder / f"{name}.pdf").write_bytes(drawing.pdf)
            drawn[name] = drawing
        return {name: drawn[name].svg for name in self._figures}


def save_drawings(folder: Path, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Draw and save figures that there are already, see :meth:`Drawings.save`."""
    with Drawings() as drawings:
        drawings.add(figures)
        return drawings.save(folder)


def svg(drawing: Figure) -> str:
    """The figure as SVG."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class _Drawn:
    png: bytes
    pdf: bytes
    svg: str


def _draw(figure: Figure) -> _Drawn:
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # the layout, once for three files: solving it takes longer than drawing
        figure.set_layout_engine("none")
    return _Drawn(_file(figure, "png"), _file(figure, "pdf"), svg(figure))


def _file(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=DPI)
    return buffer.getvalue()
