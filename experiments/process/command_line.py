"""How every command starts and ends, and its flags for paths; see :mod:`weights_convert`, which shares most of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from subspace import environment
from subspace.errors import InputError
from vggt_jax.missing import nearest
from weights_convert import command_line
from weights_convert.flag_errors import refuse
from weights_convert.path_flags import (
    DEFINE_named_paths,
    DEFINE_path,
    DEFINE_path_or_name,
    DEFINE_paths,
    DEFINE_paths_or_names,
)

__all__ = [
    "DEFINE_named_paths",
    "DEFINE_path",
    "DEFINE_path_or_name",
    "DEFINE_paths",
    "DEFINE_paths_or_names",
    "InputError",
    "nearest",
    "refuse",
    "run",
    "run_if_new",
]

T_co = TypeVar("T_co", covariant=True)


def run(
    main: Callable[[Sequence[str]], None], positional: bool = False, *, flag_of: Mapping[str, str] | None = None
) -> None:
    """:func:`weights_convert.command_line.run` with as many threads for XLA as there are cores.

    That is safe in commands, which combine no LAPACK calls of their own in one program (:mod:`subspace.threads`).
    """
    environment.restore_pool()
    command_line.run(main, positional, flag_of=flag_of)


class _Results(Protocol):
    @property
    def path(self) -> Path: ...


class _Work(Protocol[T_co]):
    @property
    def results(self) -> _Results: ...

    def run_if_new(self) -> T_co | None: ...


def run_if_new(work: _Work[T_co]) -> T_co:
    """What the work of a pipeline (:class:`experiments.storage.results.Ready`) makes.

    Where its results are there and stay, the command says so and ends with status 0.
    """
    from experiments.process.hosts import is_first

    found = work.run_if_new()
    if not is_first():  # the first tells what was made
        raise SystemExit(0)
    if found is None:
        print(f"nothing to do: {work.results.path} holds these results already; --overwrite makes them again")
        raise SystemExit(0)
    return found
