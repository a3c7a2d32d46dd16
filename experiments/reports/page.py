"""One self-contained HTML page: text, tables and zoomable figures, without a network, on a phone and in the dark."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Figure:
    """A picture with its caption."""

    source: str
    """A data URI."""
    caption: str
    """What is seen and how it was computed."""
    is_plot: bool
    """A plot is inverted on a dark page, a photograph is not."""


@dataclass(frozen=True)
class Table:
    """Rows of ready-made text under their headings."""

    headings: Sequence[str]
    """One for each column."""
    rows: Sequence[Sequence[str]]
    """Every row with one text for each heading."""
    caption: str = ""
    """What the columns mean."""


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own."""

    title: str
    """The heading."""
    parts: Sequence[str | Table | Figure]
    """Paragraphs, tables and figures in the order of the page."""


def plot(svg: str, caption: str) -> Figure:
    """A drawing, as :mod:`experiments.reports.drawings` makes it."""
    return Figure(_data_uri(svg.encode(), ".svg"), caption, is_plot=True)


def photograph(path: Path, caption: str) -> Figure:
    """A PNG or JPEG file as it is."""
    return Figure(_data_uri(path.read_bytes(), path.suffix.lower()), caption, is_plot=False)


def render(title: str, summary: str, sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    """The page's HTML.

    Args:
      title: the heading of the page.
      summary: the result in a sentence or two.
      sections: what follows.
      facts: settings, versions and times, shown at the end.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.tests["table"] = lambda part: isinstance(part, Table)
    environment.tests["figure"] = lambda part: isinstance(part, Figure)
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, summary=summary, sections=sections, facts=facts)


def _data_uri(data: bytes, suffix: str) -> str:
    return f"data:{_MIME[suffix]};base64,{base64.b64encode(data).decode()}"
