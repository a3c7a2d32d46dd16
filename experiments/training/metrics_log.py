"""Metrics of a run as JSON lines, one for each event, that go on after a restart as if there had been none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from experiments.storage.files import reading, write_bytes
from subspace.errors import InputError
from vggt_jax.reading.json_text import parse_json


class MetricsLog:
    """``path`` opened to go on after ``step``: what was logged later, by steps that will be taken again, is removed.

    Raises InputError for a line that this class did not write, except an unfinished last one, which a killed process
    leaves.
    """

    def __init__(self, path: Path, step: int):
        self.path = path
        lines = [line for line in _complete_lines(path) if _step(path, line) <= step]
        write_bytes(path, "".join(lines).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Appends {"step", "kind", **values}; arrays become lists, numbers that are not finite null."""
        line = {"step": step, "kind": kind, **{name: plain(value) for name, value in values.items()}}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Returns when everything is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events in ``path``, in order. Raises OSError and InputError naming the file."""
    return [_event(path, line) for line in _text(path).splitlines()]


def _complete_lines(path: Path) -> list[str]:
    text = _text(path) if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _text(path: Path) -> str:
    with reading(path):
        return path.read_text(encoding="utf-8")


def _step(path: Path, line: str) -> int:
    return _event(path, line)["step"]


def _event(path: Path, line: str) -> dict[str, Any]:
    try:
        event = parse_json(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or type(event.get("step")) is not int:
        raise InputError(f"{path}: not a line of metrics: {line.strip()[:80]!r}")
    return event


def plain(value: Any) -> Any:
    """A number or an array as JSON can hold it: arrays become lists, numbers that are not finite None."""
    value = np.asarray(value).tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
