"""How every command starts and ends; see :mod:`weights_convert.command_line`, which the lower packages share."""

from subspace.errors import InputError
from weights_convert.command_line import run

__all__ = ["InputError", "run"]
