"""Training states on disk: written whole or not at all, found again, a limited number kept."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import cast

import jax
import orbax.checkpoint as ocp

from experiments.storage.files import sync
from experiments.training.step import TrainingState
from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError, named_if_full, tells_of_full_disk


class Checkpoints:
    """The checkpoints of one run, in ``folder/<step>``, in orbax's format.

    A checkpoint gets its name when it is complete, so a killed process leaves none that is damaged; what it leaves
    half-written is removed when the folder is opened again. The newest ``keep`` stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        if keep < 1:
            raise InputError(f"keep must be at least 1, got {keep}")
        self._folder = folder.absolute()
        self._remove_unfinished()  # orbax's own clean-up removes nested folders side by side, and may trip over itself
        # Saving in the background would read arrays whose memory the next step reuses.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, state: TrainingState) -> None:
        """Writes ``state`` under its step, which must be a new one.

        Raises OSError if the disk is full; nothing half-written is left then.
        """
        if shutil.disk_usage(self._folder).free < sum(leaf.nbytes for leaf in jax.tree.leaves(state)):
            raise DiskFullError(self._folder)
        try:
            with named_if_full(self._folder), _full_disk_unlogged():
                self._manager.save(int(state.step), args=ocp.args.StandardSave(state), force=True)
                if jax.process_index() == 0:
                    sync(self._folder / str(int(state.step)))
        except BaseException:
            self._remove_unfinished(ignore_errors=True)  # a thread of orbax may still be at it
            raise

    def restore(self, like: TrainingState) -> TrainingState | None:
        """The newest state, with the types, shapes and shardings of ``like``; None where there is none.

        Raises InputError if it cannot be read or is of another form.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        try:
            return cast(TrainingState, self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))
        except (ValueError, KeyError, FileNotFoundError) as error:  # what empty, cut, changed and missing files raise
            raise InputError(
                f"{self._folder / str(step)}: not a checkpoint of this run, or damaged "
                f"(remove it to go on from an earlier one): {error}"
            ) from error

    def steps(self) -> list[int]:
        """The steps that are kept, ascending."""
        return sorted(self._manager.all_steps())

    def _remove_unfinished(self, *, ignore_errors: bool = False) -> None:
        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors)

    def close(self) -> None:
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()
        if error is not None:  # of a full disk, which late writers of orbax hear of later
            self._remove_unfinished(ignore_errors=True)


@contextmanager
def _full_disk_unlogged() -> Iterator[None]:
    """Every thread of orbax logs with a traceback that the disk is full, besides raising it.

    Parts that tensorstore still writes then find the loop closed that waited for them, and print a traceback each: those go
    unprinted from then on.
    """
    print_error, print_unraisable = sys.excepthook, sys.unraisablehook

    def is_late(error: BaseException | None) -> bool:
        return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"

    def print_others(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not is_late(error):
            print_error(kind, error, trace)

    def print_other_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        if not is_late(unraisable.exc_value):
            print_unraisable(unraisable)

    def keep(record: logging.LogRecord) -> bool:
        return not tells_of_full_disk(record.getMessage())

    log = logging.getLogger("absl")
    log.addFilter(keep)
    sys.excepthook, sys.unraisablehook = print_others, print_other_unraisable
    try:
        yield
        sys.excepthook, sys.unraisablehook = print_error, print_unraisable
    finally:
        log.removeFilter(keep)
