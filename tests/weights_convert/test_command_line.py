import errno
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import logging
from absl.testing import flagsaver

from subspace.errors import InputError
from vggt_jax.atomic import write_bytes
from weights_convert.command_line import printable, run

COMMAND = """
    from absl import flags
    from subspace.errors import InputError
    from weights_convert.command_line import run

    def main(arguments):
        if flags.FLAGS.rank == 13:
            open("/does/not/exist")
        if flags.FLAGS.rank < 0:
            raise InputError(f"rank must be positive, got {flags.FLAGS.rank}")
        print("rank", flags.FLAGS.rank, *arguments)

    flags.DEFINE_integer("rank", 16, "columns of the factors")
    run(main, positional=POSITIONAL)
"""


def _run(*arguments, positional=False):
    code = textwrap.dedent(COMMAND).replace("POSITIONAL", str(positional))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )


def test_success_and_help_end_with_zero():
    process = _run("--rank=3")
    assert (process.returncode, process.stdout, process.stderr) == (0, "rank 3\n", "")
    process = _run("--help")
    assert process.returncode == 0 and "columns of the factors" in process.stdout
    assert _run("a", "--rank=4", "b", positional=True).stdout == "rank 4 a b\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rnak=3"], "no flag --rnak; did you mean --rank?"),
        (["--rank=three"], "--rank must be a whole number, got three"),
        (["extra"], "unexpected argument 'extra'"),
        (["--rank=-1"], "rank must be positive, got -1"),
        (["--rank=13"], "/does/not/exist: no such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments, message):
    process = _run(*arguments)
    assert process.returncode == 2 and process.stdout == ""
    assert message in process.stderr and process.stderr.count("\n") == 1


def end(
    monkeypatch, capsys, error: BaseException | Callable[[], object], *arguments: str, **options
) -> tuple[int, str]:
    """Exit status and stderr of a command, run in this process, that raises ``error`` or calls it."""

    def main(_):
        if isinstance(error, BaseException):
            raise error
        error()

    monkeypatch.setattr(sys, "argv", ["extract", *arguments])
    verbosity = logging.get_verbosity()
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        run(main, **options)
    logging.set_verbosity(verbosity)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "writable", "advised"), [("new/a", False, True), ("new", True, False), ("there", False, False)]
)
def test_what_may_not_be_made_says_what_to_do(monkeypatch, capsys, tmp_path, name, writable, advised):
    (tmp_path / "there").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK or (writable and Path(path) == tmp_path))
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / name))
    status, line = end(monkeypatch, capsys, refused)
    assert status == 2 and str(tmp_path / name) in line
    assert ("a folder in which you may write" in line) == advised


def test_what_to_do_is_said_once(monkeypatch, capsys, tmp_path):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK)
    status, line = end(monkeypatch, capsys, lambda: write_bytes(tmp_path / "new" / "file", b""))
    assert status == 2 and line.count("name a folder in which you may write") == 1


def test_a_folder_that_is_there_no_more_is_one_line(monkeypatch, capsys, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    status, line = end(monkeypatch, capsys, AssertionError("it was started"))
    assert status == 2 and line.count("\n") == 1 and "the folder that this was started in" in line


def multiply_wrong_shapes():
    return np.ones((2, 3)) * np.ones((4, 5))


def test_a_fault_of_the_program_shows_its_traceback_and_asks_to_report_it(monkeypatch, capsys):
    status, words = end(monkeypatch, capsys, multiply_wrong_shapes)
    assert status == 1 and "Traceback" in words and "in multiply_wrong_shapes" in words
    assert "report" in words.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [ValueError("shapes"), KeyError("x"), RuntimeError("RESOURCE_EXHAUSTED"), OSError("of nothing"), TypeError()],
)
def test_errors_that_name_nothing_of_the_users_are_faults_of_the_program(monkeypatch, capsys, error):
    status, words = end(monkeypatch, capsys, error)
    assert status == 1 and "Traceback" in words


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("dim=9 is larger than 8"), "dim=9 is larger than 8"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), "a.png: no such file or directory"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a file could not be written: no space left on device; make room and run this again, it goes on where it stopped",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "a.png"),
            "a.png: read-only file system; take a folder on another disk, or have this one made writable",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "[Errno 32] Broken pipe"),
        (
            UnicodeEncodeError("utf-8", '{"name": "b\udcff c"}', 11, 12, "surrogates not allowed"),
            "b\\udcff: this name is not UTF-8, which is needed here; rename it",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_the_programs_fault_is_one_line(monkeypatch, capsys, error, line):
    status, words = end(monkeypatch, capsys, error)
    assert status == 2 and words.endswith(f": {line}\n") and words.count("\n") == 1


def test_an_interrupt_that_is_no_signal_ends_with_the_status_of_one(monkeypatch, capsys):
    status, words = end(monkeypatch, capsys, KeyboardInterrupt())
    assert status == 130 and ": interrupted" in words and words.count("\n") == 1


def test_the_traceback_of_bad_input_is_shown_on_request(monkeypatch, capsys):
    status, words = end(monkeypatch, capsys, InputError("no"), "--verbosity=1")
    assert status == 2 and "Traceback" in words and words.endswith(": no\n")


@pytest.mark.parametrize("ends", ["", "raise SystemExit(0)"])
def test_what_is_printed_may_be_read_no_longer_or_not_be_written(ends):
    code = f"""
        from weights_convert.command_line import run

        def main(_):
            for _ in range(3 - len({ends!r}) % 2):
                print("x" * 40_000)
            {ends}

        run(main)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "PYTHONPATH": "."}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 2 and ": no space left on device; " in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "from weights_convert.command_line import run; run(print)", "--help"],
        ["-m", "experiments"],
        ["-m", "experiments.status", "--help"],
    ],
)
def test_help_may_be_read_no_longer_or_not_be_written(command):
    environment = {**os.environ, "PYTHONPATH": "."}
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, b"")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 2 and "standard output: no space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("platforms", "words"), [("nonsense", "Backend 'nonsense' is not in the list of known backends"), ("rocm", "")]
)
def test_devices_that_jax_cannot_use_are_one_line(platforms, words):
    code = "import jax; from weights_convert.command_line import run; run(lambda _: jax.local_devices())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ".", "JAX_PLATFORMS": platforms},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "JAX cannot use the devices" in done.stderr and words in done.stderr
    assert done.stderr.endswith(f"; JAX_PLATFORMS={platforms} is set; without it JAX takes what is there\n")


def test_terminals_of_few_characters_are_no_reason_to_fail():
    code = """
        import sys
        from weights_convert.command_line import run
        run(lambda _: [print("5 ↓ 3 é") for sys.stdout in (sys.stdout, sys.stderr)])
    """
    for encoding, shown in (("ascii", b"5 \\u2193 3 \\xe9\n"), ("latin-1", b"5 \\u2193 3 \xe9\n")):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": ".", "PYTHONIOENCODING": f"{encoding}:strict"},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, shown, shown)


def test_an_argument_that_is_wrong_is_shown_as_its_flag(monkeypatch, capsys):
    error = InputError("dim=9 is larger than 8", argument="level")
    assert end(monkeypatch, capsys, error)[1].endswith("dim=9 is larger than 8\n")  # this command has no such flag
    _, words = end(monkeypatch, capsys, error, flag_of={"level": "verbosity"})
    assert words.endswith("dim=9 is larger than 8 (see --verbosity)\n")


def allocate_too_much():
    jax.jit(lambda: jax.numpy.zeros((1 << 46,), np.int8))().block_until_ready()


@pytest.mark.parametrize("error", [MemoryError(), allocate_too_much], ids=["host", "device"])
def test_too_little_memory_is_one_line_that_says_what_to_lower(monkeypatch, capsys, error):
    monkeypatch.setattr("weights_convert.command_line._TAKE_MEMORY", ("k", "verbosity", "views"))
    status, words = end(monkeypatch, capsys, error)
    assert status == 2 and "out of memory" in words and words.count("\n") == 1
    assert "--verbosity" in words and "--views" not in words


def test_an_error_keeps_its_argument_between_processes():
    error = pickle.loads(pickle.dumps(InputError("no", argument="dim")))
    assert (str(error), error.argument) == ("no", "dim")


def test_names_of_files_that_no_terminal_shows():
    assert _run(b"caf\xe9", positional=True).stdout == "rank 16 caf\\udce9\n"
    process = _run("a\nb\tc")
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert printable("two\nlines\x1b") == "two\\nlines\\x1b"
    assert (
        printable("weights do not fit:\n  missing: a\n  missing: b")
        == "weights do not fit:\n  missing: a\n  missing: b"
    )
