"""The figures that the paper prints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec


class PrintedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a table."""

    parameters: str
    """As printed, e.g. "16.3 M"; empty where nothing is."""
    values: tuple[float, ...]
    """In the order of the table's columns, in the paper's units (which it does not always name)."""


@cache
def printed() -> Mapping[str, Mapping[str, PrintedRow]]:
    """Table → label of the row → what is printed, in the paper's order."""
    kind = dict[str, dict[str, PrintedRow]]
    return msgspec.json.decode(Path(__file__).with_name("paper.json").read_bytes(), type=kind)
