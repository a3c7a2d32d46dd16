"""The command, and that its output is either complete or not there."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.experiments.commands import call
from tests.weights_convert.conftest import SMALL
from vggt_jax.atomic import check_absent, new_path
from weights_convert.checkpoint import open_checkpoint
from weights_convert.convert import convert


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def test_there_and_back(command, tmp_path):
    process = command(f"--input={SMALL}", f"--output={tmp_path}/new/small")
    assert process.returncode == 0 and process.stderr == ""
    assert process.stdout.splitlines()[0].endswith(
        "(official): width 64, 5 layers, images 70×70, patches of 14, heads camera, depth, point, track; 1,749,436 parameters"
    )
    assert f"wrote {tmp_path}/new/small: float32, 6.7 MiB in " in process.stdout
    back = tmp_path / "back.safetensors"
    process = command(f"--input={tmp_path}/new/small", f"--output={back}", "--to=official", "--dtype=bfloat16")
    assert process.returncode == 0 and "wrote" in process.stdout and "bfloat16, 3.4 MiB" in process.stdout
    assert listed(tmp_path) == ["back.safetensors", "new"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input is needed"),
        (["--input=x"], "--output is needed"),
        (["--input={tmp}/x", "--output={tmp}/y"], "x: no such file or folder"),
        (
            ["--input={small}", "--output={tmp}/y", "--dtype=float16"],
            "--dtype must be float32 or bfloat16, got float16",
        ),
        (["--input={small}", "--output={tmp}/y", "--to=torch"], "--to must be jax, official or peft, got torch"),
        (["--input={small}", "--output={tmp}/y", "--to=official"], "whose name must end in .safetensors"),
        (["--input={small}", "--output={tmp}/full"], "full: exists already; remove it or choose another name"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = call("weights_convert", *(argument.format(tmp=tmp_path, small=SMALL) for argument in arguments))
    assert done.status == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert listed(tmp_path) == ["full"]


def test_existing_output_is_left_alone(converted, tmp_path):
    file = tmp_path / "old.safetensors"
    file.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        convert(open_checkpoint(converted), file, to="official")
    assert file.read_bytes() == b"mine"
    (tmp_path / "empty").mkdir()
    convert(open_checkpoint(converted), tmp_path / "empty")
    assert listed(tmp_path / "empty") == ["config.json", "model.safetensors"]
    assert listed(tmp_path) == ["empty", "old.safetensors"]


def test_output_that_appears_meanwhile_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError), new_path(tmp_path / "out", check=check_absent, alone=True) as path:
        path.write_text("ours")
        (tmp_path / "out").write_text("theirs")
    assert (tmp_path / "out").read_text() == "theirs" and listed(tmp_path) == ["out"]


def test_two_at_once(tmp_path):
    with new_path(tmp_path / "out", check=check_absent, alone=True) as path:
        with (
            pytest.raises(FileExistsError, match="another process is writing it"),
            new_path(tmp_path / "out", check=check_absent, alone=True),
        ):
            pass
        path.write_text("first")
    assert (tmp_path / "out").read_text() == "first" and listed(tmp_path) == ["out"]


def test_interrupted(tmp_path):
    checkpoint = open_checkpoint(SMALL)

    def interrupt(written, total):
        if written > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, tmp_path / "out", progress=interrupt)
    assert listed(tmp_path) == []


KILLED = """
    import signal, os, sys
    from pathlib import Path
    from weights_convert.checkpoint import open_checkpoint
    from weights_convert.convert import convert

    def stop(written, total):
        if written > total / 2:
            print("half", flush=True)
            signal.pause()

    convert(open_checkpoint(sys.argv[1]), Path(sys.argv[2]), progress=stop)
"""


def test_killed_in_the_middle(tmp_path, converted):
    """kill -9 leaves nothing under the final name, and the next run removes what it left beside it."""
    output = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(SMALL), str(output)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "half\n"
        with pytest.raises(FileExistsError, match="another process is writing it"):
            convert(open_checkpoint(SMALL), output)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [left] = listed(tmp_path)
    assert left.startswith(".out.") and left.endswith(".partial")
    convert(open_checkpoint(SMALL), output)
    assert listed(tmp_path) == ["out"]
    assert (output / "model.safetensors").read_bytes() == (converted / "model.safetensors").read_bytes()


def test_full_disk_is_known_beforehand(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 2**20})
    monkeypatch.setattr("vggt_jax.atomic.shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs 7 MiB, the disk has 1 MiB left"):
        convert(open_checkpoint(SMALL), tmp_path / "out")
    assert listed(tmp_path) == []


def test_disk_that_fills_up_meanwhile(tmp_path):
    """A limit on the size of files stands in for the disk; writing fails in the middle."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000)); "
    start = (
        "import runpy, sys; sys.argv[0] = 'weights_convert'; runpy.run_module('weights_convert', run_name='__main__')"
    )
    process = subprocess.run(
        [sys.executable, "-c", limited + start, f"--input={SMALL}", f"--output={tmp_path}/out"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert os.strerror(errno.EFBIG).lower() in process.stderr
    assert listed(tmp_path) == []


def test_progress_is_monotonic_and_complete(tmp_path):
    seen = []
    size = convert(open_checkpoint(SMALL), tmp_path / "out", progress=lambda *now: seen.append(now))
    assert [written for written, _ in seen] == sorted(written for written, _ in seen)
    assert seen[-1] == (size, size) and {total for _, total in seen} == {size}
    assert size == (tmp_path / "out" / "model.safetensors").stat().st_size
