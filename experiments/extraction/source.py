"""Adapters to mine, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.reports.page import Section
from subspace import LowRank


@dataclass(frozen=True, eq=False)
class Source:
    """k adapters, and what the results say about them."""

    deltas: Mapping[str, Mapping[str, LowRank]]
    """Adapter → path → A (*layers, n, r), B (*layers, m, r)."""
    base: str
    """Name of the base model, for people."""
    fingerprint: str | None
    """What tells base models apart; None where it was not recorded."""
    title: str
    """Of the report."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """What was made on the way, and where it lies, for summary and report."""
    sections: list[Section] = field(default_factory=list)
    """Of the report, before what was mined."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Adapter → the file that is copied into the results; none of imported ones."""
    metrics: Path | None = None
    """The training's log, copied too."""
    learned: str | None = None
    """In words, how much the adapters learned."""
