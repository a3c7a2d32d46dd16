"""Metrics where people look at them: event files of TensorBoard, and Weights & Biases.

Both stand beside ``metrics.jsonl`` and go on after a restart as if there had been none: a step that is taken again counts
once. A metric of several adapters is shown as one curve for each, ``training/loss/0``, ``training/loss/1`` and so on.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from experiments.storage.files import read_json, write_json
from subspace.errors import InputError

TrackerName = Literal["tensorboard", "wandb"]
"""TensorBoard's event files in the run's folder, or Weights & Biases."""
_PACKAGES: Mapping[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb"}
_PROJECT = "attribute-subspaces"
"""Project on Weights & Biases, where the environment variable WANDB_PROJECT names none."""
_WANDB = "wandb.json"
"""File with the name of the run on Weights & Biases, and the last step that it has been given."""


class Tracker(Protocol):
    """Takes metrics step by step."""

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """``values`` are numbers or arrays (k,) of one kind, such as "training", after ``step``."""
        ...

    def flush(self) -> None:
        """Returns when everything is on the disk or on its way."""
        ...


def check_installed(names: Sequence[str]) -> None:
    """Raises InputError for a name that is no tracker's, or whose package is not installed, with the extra to install."""
    for name in names:
        if name not in _PACKAGES:
            raise InputError(f"{name} is not a place for metrics; there are {', '.join(_PACKAGES)}", argument="log")
        if find_spec(_PACKAGES[name]) is None:
            raise InputError(
                f"metrics for {name} need the package {_PACKAGES[name]}: pip install 'attribute-subspaces[{name}]'",
                argument="log",
            )


@contextmanager
def trackers(
    names: Sequence[TrackerName], folder: Path, step: int, identity: Mapping[str, Any]
) -> Iterator[list[Tracker]]:
    """Opens trackers of the run in ``folder``, to go on after ``step``.

    Args:
        names: which.
        folder: gets the event files of TensorBoard, and the folder ``wandb``.
        step: that the run goes on after; what was written of later steps does not count.
        identity: what determines the run; Weights & Biases shows it as the run's configuration.

    Raises:
        InputError: a package is missing, or Weights & Biases cannot be reached.
    """
    check_installed(names)
    makers = {"tensorboard": lambda: _TensorBoard(folder, step), "wandb": lambda: _WandB(folder, identity)}
    with ExitStack() as stack:
        yield [stack.enter_context(makers[name]()) for name in dict.fromkeys(names)]


def curves(kind: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Name of each curve → its number: ``kind/name``, with the place in the array where there are several numbers."""
    found = {}
    for name, value in values.items():
        numbers = np.asarray(value, np.float64).reshape(-1)
        for place, number in enumerate(numbers):
            found[f"{kind}/{name}" + (f"/{place}" if len(numbers) > 1 else "")] = float(number)
    return found


class _TensorBoard:
    """An event file for each start of the run; its first event tells TensorBoard to forget the steps after ``step``."""

    def __init__(self, folder: Path, step: int):
        self._writer = import_module("tensorboardX").SummaryWriter(
            str(folder), purge_step=step + 1, filename_suffix=f".{step:09d}"
        )

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        for name, number in curves(kind, values).items():
            self._writer.add_scalar(name, number, step)

    def flush(self) -> None:
        self._writer.flush()

    def __enter__(self) -> _TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class _WandB:
    """One run of Weights & Biases for each folder. It takes every step once, in order: what it has, it is not given again."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        wandb = import_module("wandb")
        self._record = folder / _WANDB
        self._id, self._given = secrets.token_hex(4), 0
        if self._record.exists():
            known = read_json(self._record)
            self._id, self._given = known["run"], known["last_step"]
        self._step = self._given
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", _PROJECT),
                id=self._id,
                name=folder.name,
                dir=str(folder),
                config=dict(identity),
                resume="allow",
                settings=wandb.Settings(console="off"),
            )
        except (wandb.errors.Error, OSError) as error:
            raise InputError(f"Weights & Biases: {error}", argument="log") from error

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        if step <= self._given:
            return
        if step > self._step:
            self._remember()  # no more of the steps before will come
            self._step = step
        self._run.log(curves(kind, values), step=step)

    def flush(self) -> None:
        """A process of Weights & Biases' own has it already."""

    def _remember(self) -> None:
        write_json(self._record, {"run": self._id, "last_step": self._step})

    def __enter__(self) -> _WandB:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)
        with suppress(OSError):
            self._remember()
