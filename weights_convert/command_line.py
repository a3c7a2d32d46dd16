"""How every command of this project starts and ends: absl flags, one line for bad input, a traceback for our own faults."""

from __future__ import annotations

import errno
import io
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from subspace.errors import InputError
from vggt_jax import disk_space
from weights_convert import stopping
from weights_convert.flag_errors import check_numbers, in_words

_NOT_OUR_FAULT = frozenset({errno.ESTALE, errno.EPIPE, errno.EMFILE})
"""Errors of the system that concern the machine even where they name no file, as those of ``write`` do."""
_NOBODY_READS = 128 + signal.SIGPIPE
"""Exit status where what a command prints is read no longer, as of a program that the signal ends."""
_INTERRUPTED = "interrupted; the same command goes on with what is finished"
_STARTS_DEVICES = "jax._src.xla_bridge"
"""JAX's module that finds the devices; its errors have no type of their own."""
_HELP_OF_ABSL = 1
"""Exit status with which absl ends after ``--help``."""
_TAKE_MEMORY = ("resolution", "views", "k", "rank", "dim", "workers", "jobs")
"""Flags of commands that need less memory with a smaller value."""


def run(
    main: Callable[[Sequence[str]], None], positional: bool = False, *, flag_of: Mapping[str, str] | None = None
) -> None:
    """Parse the flags, call ``main`` with the positional arguments, and exit.

    Status 0 after success, ``--help`` and ``-h``. Status 2 with one line on stderr for what is not the program's fault: an
    unknown or ill-typed flag, an InputError (bad input), an OSError that names its file (missing file, full disk), a lack of
    memory; ``--verbosity=1`` shows the traceback as well. Status 130, 143 or 129 with one line after Ctrl-C, SIGTERM or SIGHUP
    (:mod:`weights_convert.stopping`), and 141 without any where nobody reads on what the command prints. Status 1 with the
    traceback for everything else.

    Args:
        main: the command.
        positional: accept arguments that are no flags.
        flag_of: argument that an InputError names → the flag for it, where that has another name.
    """
    app.define_help_flags()
    for stream in (sys.stdout, sys.stderr):  # texts and names of files may hold what the terminal's encoding does not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    program = _program_name()
    try:
        os.getcwd()
    except FileNotFoundError:
        _fail(program, "the folder that this was started in is there no more; change to another one")
    try:
        with help_printed(program):
            arguments = flags.FLAGS(["--help" if each == "-h" else each for each in sys.argv])[1:]
        check_numbers()
    except (flags.Error, ValueError) as error:  # absl's own ValueError is of --noNAME=VALUE
        _fail(program, in_words(error))
    except SystemExit as ended:
        raise SystemExit(0 if ended.code == _HELP_OF_ABSL else ended.code) from None
    if arguments and not positional:
        _fail(program, f"unexpected argument {arguments[0]!r}: options start with --, see --help")

    def tell() -> None:
        print(f"{program}: {_INTERRUPTED}", file=sys.stderr)

    try:
        with stopping.listening(tell), _printed():
            main(arguments)
    except stopping.Stopped as stopped:
        tell()
        with suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
        stopping.end(stopped.number)
    except KeyboardInterrupt:  # of what a command does, and no signal
        _fail(program, _INTERRUPTED, status=128 + signal.SIGINT)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and not _is_read():
            _print_no_more()
            raise SystemExit(_NOBODY_READS) from None
        line = _line(error, flag_of or {})
        if line is None or logging.get_verbosity() > logging.INFO:
            traceback.print_exc()
        if line is None:
            line = (
                "this is a fault of the program; please report it in the project's issue tracker, with the lines above"
            )
            _fail(program, line, status=1)
        _fail(program, line)


@contextmanager
def _printed() -> Iterator[None]:
    """What is printed within has been written at the end, so that what is wrong with that is seen here."""
    ended = None
    try:
        yield
    except SystemExit as error:
        ended = error
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            _print_no_more()
            raise OSError(error.errno, error.strerror, "standard output") from None
    if ended is not None:
        raise ended


@contextmanager
def help_printed(program: str) -> Iterator[None]:
    """Help is printed within: as much of it as is read; where it cannot be written, one line says so."""
    try:
        with _printed():
            yield
    except BrokenPipeError:  # --help | head
        _print_no_more()
        raise SystemExit(0) from None
    except OSError as error:
        _print_no_more()
        _fail(program, f"standard output: {disk_space.in_words(error.errno or errno.EIO)}")


def _is_read() -> bool:
    """Whether somebody can still read what is printed."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    except (AttributeError, OSError):  # something in this process took its place
        return True
    return not poll.poll(0)


def _print_no_more() -> None:
    """What is buffered cannot be written, which Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(error: Exception, flag_of: Mapping[str, str]) -> str | None:
    """What to tell of an error for which the program is not to blame; None where it is."""
    if isinstance(error, InputError):
        flag = flag_of.get(error.argument or "", error.argument)
        return f"{error} (see --{flag})" if flag is not None and flag in flags.FLAGS else str(error)
    if isinstance(error, OSError):
        is_of_disk = error.errno in disk_space.ADVICE and not isinstance(error, disk_space.DiskFullError)
        words = disk_space.in_words(error.errno) if error.errno and is_of_disk else error.strerror
        if error.filename is not None and error.filename2 is None and words:
            path = disk_space.to_be(os.fsdecode(error.filename))
            is_advised = disk_space.TAKE_ANOTHER in words  # by whoever looked before writing
            advice = f"; {disk_space.TAKE_ANOTHER}" if _may_not_be_made(error, path) and not is_advised else ""
            return f"{path}: {words[0].lower()}{words[1:]}{advice}"
        if error.filename is None and is_of_disk:
            return f"a file could not be written: {words}"
        return str(error) if error.filename is not None or error.errno in _NOT_OUR_FAULT else None
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = next(word for word in re.split(r"[\"'\s,]", error.object) if re.search("[\ud800-\udfff]", word))
        return f"{name.encode('utf-8', 'backslashreplace').decode()}: this name is not UTF-8, which is needed here; rename it"
    if isinstance(error, MemoryError) or _says_out_of_memory(error):
        smaller = [f"--{name}" for name in _TAKE_MEMORY if name in flags.FLAGS]
        advice = f"smaller values of {', '.join(smaller)} need less" if smaller else "give it less at a time"
        return f"out of memory{f' ({reason})' if (reason := _first_line(error)) else ''}; {advice}"
    if _is_raised_in(error, _STARTS_DEVICES):
        reason = re.sub(r"^Unable to initialize backend '\w+': | \(.*?\)$", "", _first_line(error))
        chosen = os.environ.get("JAX_PLATFORMS")
        advice = (
            f"JAX_PLATFORMS={chosen} is set; without it JAX takes what is there"
            if chosen
            else "JAX_PLATFORMS=cpu leaves them out"
        )
        return f"JAX cannot use the devices{f' ({reason})' if reason else ''}; {advice}"
    return None


def _is_raised_in(error: Exception, module: str) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == module


def _may_not_be_made(error: OSError, path: str) -> bool:
    """Whether something is not there, and the folder for it takes nothing new."""
    if not isinstance(error, PermissionError) or os.path.lexists(path):
        return False
    folder = next(parent for parent in Path(os.path.abspath(path)).parents if os.path.exists(parent))
    return os.access(folder, os.X_OK) and not os.access(folder, os.W_OK)


def _says_out_of_memory(error: Exception) -> bool:
    """Whether JAX has found too little memory on its device."""
    is_of_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return (is_of_jax and "RESOURCE_EXHAUSTED" in str(error)) or "RESOURCE_EXHAUSTED: Out of memory" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")


def _fail(program: str, line: str, status: int = 2) -> NoReturn:
    print(f"{program}: {printable(line)}", file=sys.stderr)
    raise SystemExit(status)


def printable(text: str) -> str:
    """``text`` with control characters, which names of files may hold, escaped; the indented lines of a list stay lines."""
    return re.sub(r"\n(?!  )|[\x00-\x09\x0b-\x1f\x7f]", lambda found: found[0].encode("unicode_escape").decode(), text)


def called_as(name: str) -> None:
    """Let errors begin with ``name``, where another program hands its arguments on to a command."""
    global _called_as
    _called_as = name


_called_as: str | None = None


def _program_name() -> str:
    """How the user called the command: "python -m experiments.benchmark", or the script's own name."""
    if _called_as is not None:
        return _called_as
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return os.path.basename(sys.argv[0])
    return "python -m " + spec.name.removesuffix(".__main__")
