"""How every command starts and ends, and its flags for paths; see :mod:`weights_convert`, which shares most of it."""

from pathlib import Path
from typing import Protocol, TypeVar

from subspace.errors import InputError
from weights_convert.command_line import run
from weights_convert.flag_errors import nearest, refuse
from weights_convert.path_flags import DEFINE_path, DEFINE_path_or_name, DEFINE_paths, DEFINE_paths_or_names

__all__ = [
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


class _Results(Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def kept(self) -> bool: ...


class _Work(Protocol[T_co]):
    @property
    def results(self) -> _Results: ...

    def run(self) -> T_co: ...


def run_if_new(work: _Work[T_co]) -> T_co:
    """What the work of a pipeline (:class:`experiments.storage.results.Ready`) makes.

    Where its results are there and stay, the command says so and ends with status 0.
    """
    if work.results.kept:
        print(f"nothing to do: {work.results.path} holds these results already; --overwrite makes them again")
        raise SystemExit(0)
    return work.run()
