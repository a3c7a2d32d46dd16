import os
import subprocess
import sys
import textwrap

import pytest

COMMAND = """
    from absl import flags
    from weights_convert.command_line import run

    def main(arguments):
        if flags.FLAGS.rank == 13:
            open("/does/not/exist")
        if flags.FLAGS.rank < 0:
            raise ValueError(f"rank must be positive, got {flags.FLAGS.rank}")
        if flags.FLAGS.rank == 99:
            raise KeyboardInterrupt
        if flags.FLAGS.rank == 100:
            raise RuntimeError("a mistake of ours")
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
        (["--rnak=3"], "Unknown command line flag 'rnak'"),
        (["--rank=three"], "flag --rank=three"),
        (["extra"], "unexpected argument 'extra'"),
        (["--rank=-1"], "rank must be positive, got -1"),
        (["--rank=13"], "/does/not/exist: no such file or directory"),
        (["--rank=99"], "interrupted"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments, message):
    process = _run(*arguments)
    assert process.returncode == 2 and process.stdout == ""
    assert message in process.stderr and process.stderr.count("\n") == 1


def test_traceback_on_request_and_for_our_own_mistakes():
    assert "Traceback" in _run("--rank=-1", "--verbosity=1").stderr
    process = _run("--rank=100")
    assert process.returncode == 1 and "Traceback" in process.stderr
