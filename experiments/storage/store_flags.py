"""Flags for the store that commands share, and for what lies in one: paths, or addresses such as ``s3://BUCKET/FOLDER``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.storage import shared
from experiments.storage.objects import is_address
from subspace.errors import InputError
from weights_convert.path_flags import ListParser, ListSerializer, PathParser

flags.disclaim_key_flags()  # they are those of the command that defines them, whose --help shows them


class _Parser(PathParser):
    """Of a path, or of an address that ``resolve`` makes one of."""

    syntactic_help = "a path or an address"

    def __init__(self, resolve: Callable[[str], Path]):
        super().__init__()
        self._resolve = resolve

    def parse(self, argument: str | Path) -> Path:
        if not is_address(str(argument)):
            return super().parse(argument)
        try:
            return self._resolve(str(argument))
        except OSError as error:  # absl takes ValueErrors, of which InputErrors are some
            raise InputError(f"{error.filename or argument}: {error.strerror}") from error


def DEFINE_store(help: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """``--store``, whose value is the folder that the command works in; see :func:`experiments.storage.shared.opened`."""
    text = f"{help}; on many machines s3://BUCKET/FOLDER, gs://… or file:///FOLDER (extra store)"
    flags.DEFINE(_Parser(shared.opened), "store", "runs", text, flag_values, flags.ArgumentSerializer())


def DEFINE_stored(
    name: str, default: Sequence[str | Path] | None, help: str, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """A flag whose value is a list of paths; what is given by its address in a store is fetched."""
    parser: Any = ListParser(_Parser(shared.found), default)
    flags.DEFINE(parser, name, default, help, flag_values, ListSerializer())
