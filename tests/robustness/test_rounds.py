"""A fixed small number of the rounds of :mod:`tests.robustness.rounds`, in a process of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="the shim is in C")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return tmp_path_factory.mktemp("bench") / "bench"


@pytest.mark.parametrize(
    "arguments",
    [
        ("kill", "--count=3", "--only=generate,mine,finetune"),
        ("disk", "--count=3", "--only=generate,merge"),
        ("limits", "--only=merge"),
        ("signals", "--count=2", "--only=generate"),
        ("pairs", "--only=mine"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_nothing_is_lost(bench, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.rounds", *arguments, f"--folder={bench}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
