"""One at a time, in processes of their own: who waits, for whom, and what is left of a lock whose owner is dead."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.process.reporting import Reporter
from experiments.storage import locks
from experiments.storage.locks import alone

OWNER = """
    import sys, time
    from pathlib import Path
    from experiments.storage.locks import alone

    with alone(Path(sys.argv[1]), inside=sys.argv[2] == "inside"):
        print("there", flush=True)
        sys.stdin.read()
"""


class Told(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def info(self, line):
        self.lines.append(line)


@contextmanager
def owner(place, inside):
    """A process that holds the lock until its standard input ends."""
    command = [sys.executable, "-c", textwrap.dedent(OWNER), str(place), "inside" if inside else "beside"]
    environment = {**os.environ, "PYTHONPATH": "."}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        yield process


def left(folder):
    """Files; folders that several have made at a time may stay empty."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("inside", [False, True])
def test_the_second_waits_and_says_for_whom(tmp_path, inside):
    (tmp_path / "link").symlink_to("runs")  # the same place
    (tmp_path / "runs").mkdir()
    told = Told()
    with owner(tmp_path / "runs" / "new" / "it", inside) as process:
        lock = tmp_path / "runs" / "new" / ("it/.lock" if inside else ".it.lock")
        assert json.loads(lock.read_text())["pid"] == process.pid
        assert process.stdin is not None
        threading.Timer(0.3, process.stdin.close).start()
        with alone(tmp_path / "link" / "new" / "it", told, inside=inside):
            assert process.wait(10) == 0
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    (line,) = told.lines
    assert f"process {process.pid} on {socket.gethostname()} (since 2" in line and "new/it" in line
    assert left(tmp_path) == []


def test_what_a_killed_owner_left_locks_nothing(tmp_path):
    told = Told()
    with owner(tmp_path / "it", False) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert left(tmp_path) == [".it.lock"]
    with alone(tmp_path / "it", told):
        locks.sweep(tmp_path / "it")  # which is held
        assert left(tmp_path) == [".it.lock"]
    assert told.lines == [] and left(tmp_path) == []


def test_what_a_killed_owner_left_can_be_swept(tmp_path):
    locks.sweep(tmp_path / "it")
    (tmp_path / ".it.lock").write_text("{}")
    locks.sweep(tmp_path / "it")
    assert left(tmp_path) == []


def test_many_at_once_are_alone_one_after_the_other(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(5):
            with alone(tmp_path / "a" / "it"):
                inside.append(0)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    locks._LOOK_EVERY_S, usual = 0.001, locks._LOOK_EVERY_S
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locks._LOOK_EVERY_S = usual
    assert most == [1] * 40 and left(tmp_path) == []


def test_an_error_gives_it_back_and_full_folders_stay(tmp_path):
    with pytest.raises(ValueError), alone(tmp_path / "a" / "b" / "it", inside=True):
        (tmp_path / "a" / "file").touch()
        raise ValueError
    assert left(tmp_path) == ["a/file"] and not (tmp_path / "a" / "b").exists()


def test_a_lock_that_says_nothing_is_waited_for_too(tmp_path):
    told = Told()
    file = os.open(tmp_path / ".it.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    threading.Timer(0.2, lambda: os.close(file)).start()
    with alone(tmp_path / "it", told):
        pass
    assert "another process works there" in told.lines[0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_on_disks_without_locks_there_are_leases(tmp_path, monkeypatch, code):
    def unknown(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", unknown)
    told, order = Told(), []

    def second():
        with alone(tmp_path / "it", told):
            order.append("second")

    with alone(tmp_path / "it"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and f"process {os.getpid()} on " in told.lines[0] and left(tmp_path) == []


def test_where_no_folder_can_be_made_that_is_said():
    with (
        pytest.raises(FileNotFoundError, match="nothing can be made there"),
        alone(Path("/proc/attribute_subspaces/it")),
    ):
        pass


def test_where_nothing_can_be_written_nothing_is_locked(tmp_path, monkeypatch):
    def read_only(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", read_only)
    with alone(tmp_path / "it"):
        pass
