import os
import subprocess

import pytest

from experiments.process import revision
from experiments.process.cores import available_cores


def test_cores_are_those_that_this_process_may_use():
    assert 0 < len(available_cores()) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("changed", ["", " M file"])
def test_the_commit_says_whether_files_were_changed(monkeypatch, changed):
    def run(command, **_):
        output = "abc123\n" if "rev-parse" in command else changed
        return subprocess.CompletedProcess(command, 0, output)

    monkeypatch.setattr(revision.subprocess, "run", run)
    assert revision.commit().startswith("abc123") and ("modified" in revision.commit()) == bool(changed)


def test_outside_of_git_the_commit_is_unknown(monkeypatch):
    def run(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(revision.subprocess, "run", run)
    assert revision.commit() == "unknown"
