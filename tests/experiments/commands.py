"""Commands called in the process of the tests, which costs milliseconds where a process of their own costs seconds."""

import contextlib
import io
import os
import runpy
import sys
from dataclasses import dataclass
from unittest import mock

from absl import app, flags

from experiments.process.large_pages import VARIABLE
from experiments.process.reporting import LOGGER


@dataclass(frozen=True)
class Done:
    """What a call of a command left."""

    status: int
    stdout: str
    stderr: str


def call(module, *arguments):
    """``python -m module arguments`` without a new process: exit status and what was printed.

    Flags are defined anew by each call and are gone after it. A fault of the program is status 1 with its traceback in
    ``stderr``, as from a process.
    """
    app.define_help_flags()
    before = set(flags.FLAGS)
    logged = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    environment = {VARIABLE: os.environ.get(VARIABLE, "")}  # nothing starts this process again
    try:
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.object(sys, "argv", [module, *map(str, arguments)]),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
        LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = logged
    return Done(status, stdout.getvalue(), stderr.getvalue())
