"""What a run leaves: one JSON file, small enough to commit, from which tables are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from experiments.reproduction.plan import Run, Search
from experiments.reproduction.rows import CHAMFER, HALVES
from experiments.reproduction.search import best_rate, still_to_compare
from experiments.storage.files import read_json, write_json
from subspace.errors import InputError
from vggt_jax.reading import typed

SHEETS, RATES = "data", "rates"
"""What the names of files begin with that are no runs' records: data sheets, and searches of a learning rate."""
Stored = TypeVar("Stored", bound=msgspec.Struct)


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finished run."""

    run: Run
    """What was asked for; sizes are the paper's."""
    sizes: dict[str, int]
    """Rank and dimension that were used."""
    base: str
    """Name and fingerprint of the model."""
    commit: str
    """Commit of the code."""
    parameters: int
    """Number of trained parameters."""
    rate: float | None
    """Peak learning rate."""
    given_up: tuple[float, ...] = ()
    """Others that were tried, with which training diverged or ended above the base model's loss on validation scenes."""
    steps: int
    """Number of training steps."""
    training_seconds: float
    """Duration of the fine-tuning."""
    evaluation_seconds: float
    """Duration of the evaluation on all test sets."""
    data: dict[str, str]
    """Split, "train" and those of the test sets → sha256 of all files, see :mod:`experiments.reproduction.data_sheets`."""
    details: dict[str, str] = msgspec.field(name="facts")
    """What the method says of its result, to be read."""
    validation: dict[str, float]
    """Mean loss on validation scenes "before" and "after"."""
    rate_from: str | msgspec.UnsetType = msgspec.UNSET
    """Name of the run on which its rate was found the best; records of version 0.2.0 and before do not say."""
    validated_on: Literal["test"] | msgspec.UnsetType = msgspec.UNSET
    """Whether validation scenes are of the test data's kind; without, they are the last ones of the training data."""
    tests: dict[str, dict[str, dict[str, float]]]
    """Test set → scene → metric → value; of captures without poses there are no points."""
    weights: str | msgspec.UnsetType = msgspec.UNSET
    """Digest of all parameters of the base model, whose fingerprint leaves its heads out; earlier records do not have it."""


class RateSearch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The learning rates that were compared for a method on a task."""

    run: Run
    """The run that was trained with each of them."""
    losses: dict[str, float | None]
    """Rate → mean loss on validation scenes after training; None where it diverged."""
    rates_for: Literal["row"] | msgspec.UnsetType = msgspec.UNSET
    """Whether the rate is for the run's row alone; without, for all rows of its method."""
    validated_on: Literal["test"] | msgspec.UnsetType = msgspec.UNSET
    """As in :class:`RunRecord`."""
    base: str | msgspec.UnsetType = msgspec.UNSET
    """Name and fingerprint of the model; earlier records do not say."""
    weights: str | msgspec.UnsetType = msgspec.UNSET
    """As in :class:`RunRecord`."""
    data: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """sha256 of the training data, on all machines that made them; earlier records do not say."""

    @property
    def search(self) -> Search:
        """What the rate is for."""
        found = self.run.search if self.rates_for is msgspec.UNSET else self.run.own_search
        assert found is not None
        return found

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


def search_file(folder: Path, search: Search) -> Path:
    """Where a search of a learning rate is kept."""
    return folder / f"{RATES}_{search.task}_{search.variant}.json"


def read(path: Path, kind: type[Stored]) -> Stored | None:
    """A :class:`RunRecord`, :class:`RateSearch` or :class:`~experiments.reproduction.data_sheets.DataSheet`, None without one.

    Raises:
        InputError: the file is damaged.
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        return typed.convert(read_json(path), kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no record of experiments.reproduce: {error}; delete it to run it again") from None


def read_searches(folder: Path) -> list[RateSearch]:
    """Those of all tasks and methods; raises as :func:`read` does."""
    searches = (read(path, RateSearch) for path in sorted(folder.glob(f"{RATES}_*.json")))
    return [search for search in searches if search is not None]


def run_files(folder: Path) -> list[Path]:
    """The files of the records of all runs."""
    others = (f"{SHEETS}_", f"{RATES}_", ".")
    return [path for path in sorted(folder.glob("*.json")) if not path.name.startswith(others)]


def write(path: Path, record: msgspec.Struct) -> None:
    """Atomically. Raises OSError if the folder cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, msgspec.to_builtins(record), durable=True)


def figure(scene: Mapping[str, float], metric: str) -> float:
    """A figure of a scene, NaN where it was not measured; the Chamfer distance, which no record holds, is its halves' mean."""
    if metric == CHAMFER:
        return sum(figure(scene, half) for half in HALVES) / len(HALVES)
    return scene.get(metric, math.nan)


def scene_means(scenes: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """Mean of a figure over the scenes of a test set; NaN unless it was measured in all of them."""
    return sum(figure(scene, metric) for scene in scenes.values()) / len(scenes)
