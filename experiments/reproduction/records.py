"""What a run leaves: one JSON file, small enough to commit, from which tables are made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from experiments.reproduction.plan import Run, Search, variant
from experiments.reproduction.search import best_rate, still_to_compare
from experiments.storage.files import read_json, write_json
from subspace.errors import InputError

RATES = "rates"
"""What names of files of searches begin with."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finished run."""

    run: dict[str, Any]
    """What was asked for, see :class:`experiments.reproduction.plan.Run`; sizes are the paper's."""
    sizes: dict[str, int]
    """The sizes that were used."""
    base: str
    """Name and fingerprint of the model."""
    commit: str
    parameters: int
    """Trained."""
    rate: float | None
    """Peak learning rate."""
    given_up: tuple[float, ...] = ()
    """Others that were tried, with which training diverged or ended above the base model's loss on validation scenes."""
    steps: int
    training_seconds: float
    evaluation_seconds: float
    data: dict[str, str]
    """Split, "train" and those of the test sets → sha256 of all files, see :mod:`experiments.reproduction.data_sheets`."""
    facts: dict[str, str]
    validation: dict[str, float]
    """Mean loss on validation scenes "before" and "after"."""
    tests: dict[str, dict[str, dict[str, float]]]
    """Test set → scene → metric → value."""


class RateSearch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The learning rates that were compared for a method on a task."""

    run: dict[str, Any]
    losses: dict[str, float | None]
    """Rate → mean loss on validation scenes after training; None where it diverged."""

    @property
    def search(self) -> Search:
        """What the rate is for."""
        return self.run["task"], variant(self.run["method"], self.run["matrices"])

    @property
    def by_rate(self) -> dict[float, float]:
        """Rate → loss, infinite where training diverged."""
        return {float(rate): math.inf if loss is None else loss for rate, loss in self.losses.items()}

    @property
    def chosen(self) -> float:
        """The rate with the lowest loss."""
        return best_rate(self.by_rate)

    def is_among(self, rates: Sequence[float]) -> bool:
        """Whether this is a whole search among these rates (:func:`experiments.reproduction.search.still_to_compare`)."""
        found = self.by_rate
        return found.keys() <= set(rates) and not still_to_compare(rates, found)


def record_file(folder: Path, run: Run) -> Path:
    """Where the record of a run is kept."""
    return folder / f"{run.name}.json"


def read(path: Path, kind: type[Any]) -> Any | None:
    """A :class:`Record`, :class:`RateSearch` or sheet of :mod:`~experiments.reproduction.data_sheets`, None if there is none.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        return msgspec.convert(read_json(path), kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no record of experiments.reproduce: {error}; delete it to run it again") from None


def read_searches(folder: Path) -> list[RateSearch]:
    """Those of all tasks and methods; raises as :func:`read` does."""
    found = (read(path, RateSearch) for path in sorted(folder.glob(f"{RATES}_*.json")))
    return [search for search in found if search is not None]


def write(path: Path, record: msgspec.Struct) -> None:
    """Atomically. Raises OSError if the folder cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, msgspec.to_builtins(record))


def plain(run: Run) -> dict[str, Any]:
    """A run as JSON can hold it."""
    return json.loads(json.dumps(asdict(run)))


def scene_means(scenes: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """Mean of a metric over the scenes of a test set."""
    return sum(scene[metric] for scene in scenes.values()) / len(scenes)
