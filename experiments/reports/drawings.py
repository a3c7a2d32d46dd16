"""Figures as files for a paper and for the page: PNG, PDF and SVG, several figures at a time.

What costs is Python's part of the drawing, which keeps one core busy. So further processes draw too, one for each core; this
process takes what none of them has begun, which is everything where there is one core or one figure.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from matplotlib.figure import Figure

DPI = 200
"""Of the PNG files."""


def save_drawings(folder: Path, drawings: Mapping[str, Figure]) -> dict[str, str]:
    """Write ``NAME.png`` and ``NAME.pdf`` of every figure.

    Args:
      folder: where to; it exists.
      drawings: file name → figure. Their layout is settled: afterwards they do not adapt to another size.

    Returns:
      The same names → SVG, for :func:`experiments.reports.page.plot`.

    Raises:
      OSError: a file cannot be written.
    """
    helpers = min(_cores(), len(drawings)) - 1
    if helpers < 1:
        return {name: _draw(folder / name, drawing) for name, drawing in drawings.items()}
    # not forked: JAX has threads, whose locks a fork would copy in any state
    with ProcessPoolExecutor(helpers, mp_context=get_context("spawn")) as pool:
        waiting = {name: pool.submit(_draw, folder / name, drawing) for name, drawing in drawings.items()}
        own = {name: _draw(folder / name, drawings[name]) for name in reversed(waiting) if waiting[name].cancel()}
        return {name: own[name] if name in own else future.result() for name, future in waiting.items()}


def svg(drawing: Figure) -> str:
    """The figure as SVG."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(stem: Path, drawing: Figure) -> str:
    if drawing.get_layout_engine() is not None:
        drawing.draw_without_rendering()  # the layout, once for three files: solving it takes longer than drawing
        drawing.set_layout_engine("none")
    for form in ("png", "pdf"):
        drawing.savefig(f"{stem}.{form}", dpi=DPI)
    return svg(drawing)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
