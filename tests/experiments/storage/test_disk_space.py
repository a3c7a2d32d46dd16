import errno
import os
import pickle
import sys
from pathlib import Path

import pytest

from experiments.storage.disk_space import DiskFullError, named_if_full
from weights_convert.command_line import run


def of_library(message):
    return ValueError(f"RESOURCE_EXHAUSTED: Failed writing: {message} [os_error_code='28']")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        of_library("No space left on device"),
    ],
)
def test_full_disks_are_named_whatever_fails(error):
    with pytest.raises(DiskFullError, match=r"^run: no space left on device") as found, named_if_full(Path("run")):
        raise error
    assert found.value.__cause__ is error


def test_a_full_disk_behind_another_error_is_found():
    with pytest.raises(DiskFullError), named_if_full(Path("run")):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise RuntimeError("could not save") from error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), ValueError("shapes"), KeyboardInterrupt()])
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error)) as found, named_if_full(Path("run")):
        raise error
    assert found.value is error


def test_the_innermost_place_is_named():
    with pytest.raises(DiskFullError, match=r"^tokens: "), named_if_full(Path("run")), named_if_full(Path("tokens")):
        raise OSError(errno.ENOSPC, "full")


def test_a_command_ends_with_one_line_and_status_2(monkeypatch, capsys):
    def main(_):
        raise DiskFullError(Path("runs/adapters"))

    monkeypatch.setattr(sys, "argv", ["extract"])
    with pytest.raises(SystemExit) as end:
        run(main)
    line = capsys.readouterr().err
    assert end.value.code == 2 and line.count("\n") == 1 and ": runs/adapters: no space left on device;" in line


def test_the_error_names_the_disk_between_processes_too():
    error = pickle.loads(pickle.dumps(DiskFullError(Path("runs"))))
    assert (error.errno, error.filename) == (errno.ENOSPC, "runs") and str(error).startswith("runs: no space left")
