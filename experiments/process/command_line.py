"""How every command starts and ends, and its flags for paths; see :mod:`weights_convert`, which shares both."""

from subspace.errors import InputError
from weights_convert.command_line import run
from weights_convert.path_flags import DEFINE_path, DEFINE_path_or_name, DEFINE_paths, DEFINE_paths_or_names

__all__ = ["DEFINE_path", "DEFINE_path_or_name", "DEFINE_paths", "DEFINE_paths_or_names", "InputError", "run"]
