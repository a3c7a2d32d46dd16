"""Training states on disk: written whole or not at all, found again, a limited number kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import jax
import orbax.checkpoint as ocp

from experiments.storage.files import sync
from experiments.training.state_file import read_state, write_state
from experiments.training.step import TrainingState
from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError, named_if_full

_EARLIER = "default"
"""Folder in checkpoints of runs that began before states were safetensors: one in a format of orbax's."""

_UNFINISHED = ".orbax-checkpoint-tmp"
"""In the names of checkpoints that orbax is writing, and of those that are being removed."""


class Checkpoints:
    """The checkpoints of one run, in ``folder/<step>``, made by orbax of :mod:`experiments.training.state_file`.

    A checkpoint gets its name when it is complete, so a killed process leaves none that is damaged; what it leaves
    half-written is removed when the folder is opened again. The newest ``keep`` stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        if keep < 1:
            raise InputError(f"keep must be at least 1, got {keep}")
        self._folder, self._keep = folder.absolute(), keep
        self._folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            self._remove_unfinished()
        self._orbax = ocp.Checkpointer(_Handler())

    def save(self, state: TrainingState) -> None:
        """Writes ``state`` under its step, which must be a new one.

        Raises OSError if the disk is full; nothing half-written is left then.
        """
        if shutil.disk_usage(self._folder).free < sum(leaf.nbytes for leaf in jax.tree.leaves(state)):
            raise DiskFullError(self._folder)
        step = int(state.step)
        try:
            with named_if_full(self._folder):
                self._orbax.save(self._folder / str(step), args=_State(state))
                if jax.process_index() == 0:
                    sync(self._folder / str(step))
                    self._remove_earlier()
        except BaseException:
            self._remove_unfinished()
            raise

    def restore(self, like: TrainingState) -> TrainingState | None:
        """The newest state, with the types, shapes and shardings of ``like``; None where there is none.

        Once it is read, states before the newest ``keep`` are removed, which a save that was interrupted may have left.

        Raises InputError if it cannot be read or is of another form.
        """
        if not (steps := self.steps()):
            return None
        folder = self._folder / str(steps[-1])
        try:
            if (folder / _EARLIER).exists():
                state = _restored_earlier(folder / _EARLIER, like)
            else:
                state = cast(TrainingState, self._orbax.restore(folder, args=_State(like)))
        except (ValueError, KeyError, FileNotFoundError) as error:  # what empty, cut, changed and missing files raise
            raise InputError(
                f"{folder}: not a checkpoint of this run, or damaged (remove it to go on from an earlier one): {error}"
            ) from error
        if jax.process_index() == 0:  # what a save that was cut short between the new name and the old one left
            with named_if_full(self._folder):
                self._remove_earlier()
        return state

    def steps(self) -> list[int]:
        """The steps that are kept, ascending."""
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def _remove_earlier(self) -> None:
        for earlier in self.steps()[: -self._keep]:
            old = self._folder / str(earlier)
            old.rename(old.with_name(old.name + _UNFINISHED))
        self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for unfinished in self._folder.glob(f"*{_UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def close(self) -> None:
        self._orbax.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler(ocp.CheckpointHandler):
    """Orbax's own handlers write in threads, which go on for a while after one of them has failed; this one does not."""

    def save(self, directory: Path, args: _State) -> None:
        write_state(Path(directory), args.state)

    def restore(self, directory: Path, args: _State) -> TrainingState:
        return read_state(Path(directory), args.state)


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
@dataclass
class _State(ocp.args.CheckpointArgs):
    """What is to be saved, or what one is to be like that is restored."""

    state: TrainingState


def _restored_earlier(folder: Path, like: TrainingState) -> TrainingState:
    """What orbax's manager of checkpoints wrote."""
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as orbax:
        return cast(TrainingState, orbax.restore(folder, args=ocp.args.StandardRestore(abstract)))
