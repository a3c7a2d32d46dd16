"""How every command of this project starts and ends: absl flags, one clear line for bad input, exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging


def run(main: Callable[[Sequence[str]], None], positional: bool = False) -> None:
    """Parse the flags, call ``main`` with the positional arguments, and exit.

    Status 0 after success and ``--help``; 2 with one line on stderr for an unknown or ill-typed flag, a ValueError or an
    OSError (bad input, missing file, full disk) and for an interrupt. ``--verbosity=1`` shows the traceback as well.
    Positional arguments are refused unless ``positional``.
    """
    app.define_help_flags()
    program = _program_name()
    try:
        arguments = flags.FLAGS(sys.argv)[1:]
    except flags.Error as error:
        _fail(program, error)
    except SystemExit:  # absl's help flags end with 1
        raise SystemExit(0) from None
    if arguments and not positional:
        _fail(program, f"unexpected argument {arguments[0]!r}: options start with --, see --help")
    try:
        main(arguments)
    except (ValueError, OSError) as error:
        if logging.get_verbosity() > logging.INFO:
            raise
        _fail(program, _described(error))
    except KeyboardInterrupt:
        _fail(program, "interrupted")


def _described(error: Exception) -> str:
    """The message; of an error of the system the file and its words, without the number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror and error.filename2 is None:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def _fail(program: str, error: object) -> NoReturn:
    print(f"{program}: {' '.join(str(error).split()) if isinstance(error, flags.Error) else error}", file=sys.stderr)
    raise SystemExit(2)


def _program_name() -> str:
    """ "python -m experiments.benchmark" or the script's own name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return os.path.basename(sys.argv[0])
    return "python -m " + spec.name.removesuffix(".__main__")
