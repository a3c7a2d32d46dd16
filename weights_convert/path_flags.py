"""Flags for files and folders of this machine. ``~`` is the home folder in them: after ``=`` most shells leave it as it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from subspace.errors import InputError

flags.disclaim_key_flags()  # they are those of the command that defines them, whose --help shows them


def _given(argument: Any) -> Any:
    if argument == "":
        raise ValueError("it is empty")
    if "://" in str(argument):  # as a path it would be a folder of the scheme's name
        raise InputError(f"{argument} is an address, where a path of this machine is needed")
    return argument


class PathParser(flags.ArgumentParser[Path]):
    """Of a path that is not empty."""

    syntactic_help = "a path"

    def parse(self, argument: str | Path) -> Path:
        return Path(os.path.expanduser(_given(argument)))


class NameParser(flags.ArgumentParser[str]):
    """Of a path, or of something else that is not empty."""

    syntactic_help = "a path or a name"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(_given(argument))


class NamedPathParser(flags.ArgumentParser[str]):
    """Of a path that may have a name: PATH or NAME=PATH."""

    syntactic_help = "PATH or NAME=PATH"

    def parse(self, argument: str) -> str:
        name, equals, path = _given(argument).rpartition("=")
        return name + equals + os.path.expanduser(_given(path))


class ListParser(flags.ListParser):
    """Of a comma-separated list whose items ``item`` parses; empty it may be where its ``default`` is a list."""

    def __init__(self, item: flags.ArgumentParser[Any], default: Sequence[Any] | None):
        super().__init__()
        self._item, self._may_be_empty = item, default is not None
        self.syntactic_help = f"{item.syntactic_help}, several with commas"

    def parse(self, argument: str | Sequence[Any]) -> list[Any]:
        return [self._item.parse(one) for one in super().parse(argument if self._may_be_empty else _given(argument))]  # pyright: ignore[reportArgumentType]


def DEFINE_path(name: str, default: str | Path | None, help: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """A flag whose value is a :class:`~pathlib.Path`."""
    flags.DEFINE(PathParser(), name, default, help, flag_values, flags.ArgumentSerializer())


def DEFINE_paths(
    name: str, default: Sequence[str | Path] | None, help: str, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """A flag whose value is a list of :class:`~pathlib.Path`, separated by commas on the command line."""
    flags.DEFINE(ListParser(PathParser(), default), name, default, help, flag_values, ListSerializer())


def DEFINE_path_or_name(name: str, default: str | None, help: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """A flag whose value is a string: a path, or something that is none, such as ``hf:OWNER/NAME``."""
    flags.DEFINE(NameParser(), name, default, help, flag_values, flags.ArgumentSerializer())


def DEFINE_paths_or_names(
    name: str, default: Sequence[str] | None, help: str, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """A flag whose value is a list of what :func:`DEFINE_path_or_name` takes, separated by commas on the command line."""
    flags.DEFINE(ListParser(NameParser(), default), name, default, help, flag_values, ListSerializer())


def DEFINE_named_paths(
    name: str, default: Sequence[str] | None, help: str, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """A flag whose value is a list of strings, PATH or NAME=PATH, separated by commas on the command line."""
    flags.DEFINE(ListParser(NamedPathParser(), default), name, default, help, flag_values, ListSerializer())


class ListSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Sequence[Any]) -> str:
        return ",".join(map(str, value))
