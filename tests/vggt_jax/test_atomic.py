"""Files and folders are complete or absent, whatever ends the process that writes them."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from subspace.errors import InputError
from vggt_jax import atomic
from vggt_jax.atomic import (
    check_absent,
    check_writable,
    create,
    new_folder,
    new_path,
    remove,
    remove_partial,
    sync,
    write_bytes,
    write_new,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_another_one(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", memoryview(b"second")):
        write_bytes(path, content, durable=True)
        assert path.read_bytes() == content
    assert names(tmp_path / "new") == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    write_bytes(tmp_path / "file", b"dear")
    with pytest.raises(error), new_path(tmp_path / "file") as new:
        new.write_bytes(b"half")
        raise error
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "dear").touch()
    with pytest.raises(error), new_folder(tmp_path / "folder") as new:
        (new / "half").touch()
        raise error
    assert (tmp_path / "file").read_bytes() == b"dear" and names(tmp_path / "folder") == ["dear"]
    assert names(tmp_path) == ["file", "folder"]


def test_folders_and_files_replace_each_other(tmp_path):
    with new_folder(tmp_path / "it") as new:
        (new / "first").touch()
    with new_folder(tmp_path / "it") as new:
        (new / "second").touch()
    assert names(tmp_path / "it") == ["second"]
    with new_path(tmp_path / "it") as new:
        new.write_text("a file")
    assert (tmp_path / "it").read_text() == "a file"
    with new_folder(tmp_path / "it"):
        pass
    assert names(tmp_path / "it") == [] and names(tmp_path) == ["it"]


def test_what_is_replaced_returns_if_the_new_one_cannot_take_its_place(tmp_path):
    with new_folder(tmp_path / "it") as new:
        (new / "dear").touch()
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "it") as new:
        new.rmdir()
    assert names(tmp_path / "it") == ["dear"] and names(tmp_path) == ["it"]


KILLED = """
import os, pathlib, signal, sys
from vggt_jax import atomic

path = pathlib.Path(sys.argv[1])
def stop():
    print("now", flush=True)
    signal.pause()

if sys.argv[2] == "between":  # the old folder is away, the new one not yet there
    rename = pathlib.Path.rename
    pathlib.Path.rename = lambda old, new: rename(old, new) if new.name == ".replaced" else stop()
with atomic.new_folder(path) as new:
    (new / "half").touch()
    if sys.argv[2] == "inside":
        stop()
"""


@pytest.mark.parametrize("place", ["inside", "between"])
def test_a_killed_process_leaves_nothing_for_long(tmp_path, place):
    path = tmp_path / "it"
    with new_folder(path) as new:
        (new / "dear").touch()
    process = subprocess.Popen([sys.executable, "-c", KILLED, path, place], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "now\n"
        remove_partial(tmp_path)  # it lives: its work is left alone
        (left,) = (name for name in names(tmp_path) if name.startswith("."))
        with pytest.raises(FileExistsError) as error, new_path(path, alone=True):
            pass
        assert error.value.filename == str(path) and (tmp_path / left).exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    remove_partial(tmp_path)
    assert names(tmp_path) == ["it"] and names(path) == ["dear"]


def test_the_next_one_clears_what_a_dead_one_left(tmp_path):
    for name in (".it.abcdefgh.partial", ".its.abcdefgh.partial", ".it.partial"):
        (tmp_path / name).mkdir()
    write_bytes(tmp_path / "it", b"")
    assert names(tmp_path) == [".it.partial", ".its.abcdefgh.partial", "it"]
    (tmp_path / ".file.01234567.partial").touch()
    (tmp_path / ".mail.partial").touch()  # somebody else's
    remove_partial(tmp_path)
    assert names(tmp_path) == [".it.partial", ".mail.partial", "it"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
def test_errors_of_the_disk_name_the_file(tmp_path, code):
    def write():
        raise OSError(code, os.strerror(code))  # as write() does

    with pytest.raises(OSError) as caught, new_folder(tmp_path / "it"):
        write()
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "it"))
    assert names(tmp_path) == []
    with pytest.raises(OSError) as caught, new_folder(tmp_path / "it") as new:
        (new / "absent").read_bytes()
    assert caught.value.filename.endswith("absent")


def test_what_is_synced_is_all_of_it(tmp_path, monkeypatch):
    (tmp_path / "in" / "it").mkdir(parents=True)
    for name in ("a", "in/b", "in/it/c", "d"):
        (tmp_path / name).write_text("x")
    (tmp_path / "in" / "link").symlink_to("nowhere")
    seen, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(os.readlink(f"/proc/self/fd/{file}")), real(file)))
    sync(tmp_path, ["a", "in"])
    assert sorted(seen) == [str(tmp_path / name) for name in ("a", "in", "in/b", "in/it", "in/it/c")]


def test_two_that_write_the_same_do_not_meet(tmp_path):
    with new_path(tmp_path / "it") as first, new_path(tmp_path / "it") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "it").read_text() == "first" and names(tmp_path) == ["it"]


def test_on_disks_without_locks_everything_but_clearing_works(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError("no locks")

    monkeypatch.setattr(atomic.fcntl, "flock", unknown)
    (tmp_path / ".it.abcdefgh.partial").mkdir()
    with new_path(tmp_path / "it", alone=True) as new:
        new.touch()
    assert names(tmp_path) == [".it.abcdefgh.partial", "it"]


def test_what_may_not_be_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for absent in (tmp_path / "nothing", tmp_path / "empty"):
        check_absent(absent)
    for present in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(FileExistsError) as error, new_path(present, check=check_absent):
            pytest.fail("begun")
        assert error.value.filename == str(present)
    with pytest.raises(FileExistsError), new_path(tmp_path / "nothing", check=check_absent) as new:
        new.touch()
        (tmp_path / "nothing").write_text("theirs")
    assert (tmp_path / "nothing").read_text() == "theirs"


@pytest.mark.parametrize("content", [b"all", {"a": b"one", "b.txt": b"two"}], ids=["file", "folder"])
def test_what_is_new_replaces_nothing(tmp_path, content):
    write_new(tmp_path / "it", content)
    found = tmp_path / "it"
    assert content == (
        found.read_bytes() if found.is_file() else {path.name: path.read_bytes() for path in found.iterdir()}
    )
    with pytest.raises(FileExistsError) as error:
        write_new(tmp_path / "it", {"c": b"other"})
    assert error.value.filename == str(found) and names(tmp_path) == ["it"]
    assert found.is_file() or names(found) == ["a", "b.txt"]


def test_links_are_followed_unless_asked(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/space")
    with new_folder(tmp_path / "link") as new:
        (new / "file").touch()
    assert names(tmp_path / "disk" / "space") == ["file"] and (tmp_path / "link").is_symlink()
    with new_path(tmp_path / "link", follow=False) as new:
        new.symlink_to("disk")
    assert os.readlink(tmp_path / "link") == "disk" and names(tmp_path / "disk") == ["space"]


def test_a_mount_point_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(InputError, match="mounted"), new_folder(tmp_path):
        pytest.fail("begun")
    write_bytes(tmp_path / "file", b"")


def test_names_may_hold_anything(tmp_path):
    for name in ("a [b] {c} *", "x" * 230, ".hidden", "dots.in.it"):
        write_bytes(tmp_path / name, b"")
        assert (tmp_path / name).is_file()
    assert len(names(tmp_path)) == 4


def test_remove(tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "file").touch()
    remove(tmp_path / "it")
    assert names(tmp_path) == []


def test_a_place_where_nothing_can_be_written_is_told_beforehand(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught:
        check_writable(tmp_path / "file" / "a" / "b")
    assert caught.value.filename == str(tmp_path / "file")

    def refuse(path, *_):
        raise PermissionError(errno.EPERM, "Operation not permitted", path)  # as root on a file system of the kernel

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PermissionError) as caught:
        check_writable(tmp_path / "a" / "b")
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize("has_links", [True, False])
def test_of_several_that_create_a_file_one_succeeds(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    target = tmp_path / "new" / "file"
    with ThreadPoolExecutor(8) as pool:
        contents = [b"%d" % i * 1000 for i in range(40)]
        made = list(pool.map(lambda content: create(target, content), contents))
    assert sum(made) == 1 and target.read_bytes() == contents[made.index(True)]
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_cannot_be_written_is_not_created(tmp_path, has_links):
    """A full disk, by a limit on the size of files, leaves no empty file."""
    program = f"""
import errno, os, resource, signal
from pathlib import Path
from vggt_jax import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if not {has_links}:
    def refuse(*_): raise OSError(errno.EPERM, "no links here")
    os.link = refuse
    atomic._hidden_file = lambda target, content: __import__("contextlib").nullcontext(target)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    atomic.create(Path({str(tmp_path / "file")!r}), b"content")
except OSError as error:
    print("refused")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert found.stdout == "refused\n", found.stderr
    assert names(tmp_path) == []
