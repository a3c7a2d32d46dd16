import errno
import os
import pickle
import sys
from pathlib import Path

import pytest

from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError, named_if_full
from weights_convert.command_line import run


def of_library(message):
    return ValueError(f"RESOURCE_EXHAUSTED: Failed writing: {message} [os_error_code='28']")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        of_library("No space left on device"),
        *(OSError(number, os.strerror(number)) for number in (errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)),
        of_library("File too large"),
    ],
)
def test_full_disks_are_named_whatever_fails(error):
    number = getattr(error, "errno", None) or (errno.EFBIG if "large" in str(error) else errno.ENOSPC)
    with pytest.raises(DiskFullError) as found, named_if_full(Path("run")):
        raise error
    assert found.value.__cause__ is error and found.value.errno == number
    assert str(found.value).lower().startswith(f"run: {os.strerror(number).lower()}; ")


def test_a_file_that_is_known_is_named_and_what_is_wrong_with_a_users_is_left_alone():
    with pytest.raises(DiskFullError, match=r"^run/a.png: read-only"), named_if_full(Path("run")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "run/a.png")
    with pytest.raises(InputError) as error, named_if_full(Path("run")):
        try:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        except OSError as reason:
            raise InputError("b.png is damaged") from reason
    assert str(error.value) == "b.png is damaged"


@pytest.mark.parametrize("known", [False, True])
def test_a_file_in_a_hidden_folder_is_named_as_it_will_be(known):
    hidden = "made/.scene_0000.gpkr6ksn.partial/scene_0000/cameras.json"
    with pytest.raises(DiskFullError, match=r"^made/scene_0000/cameras\.json: no space"), named_if_full(Path(hidden)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([hidden] if known else []))


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


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("runs/.a.b.01234567.partial", "runs/a.b"),
        ("runs/.it.ab_d0123.partial/it/figures/a.png", "runs/it/figures/a.png"),
        ("runs/.it.ab_d0123.partial/it", "runs/it"),
        ("runs/.it.ab_d0123.partial/item", "runs/it/item"),
        (".it.partial", ".it.partial"),
    ],
)
def test_the_name_is_the_one_that_the_file_would_have_got(path, shown):
    with pytest.raises(DiskFullError) as error, named_if_full(Path("run")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    assert error.value.filename == shown


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
