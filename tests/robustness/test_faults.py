"""The shim of full disks sees what Python and libraries write, here and in what a process starts, and nothing elsewhere."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.robustness.faults import Faults, arm, disarm, shim

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the shim is in C")
ROOT = Path(__file__).parents[2]
WRITERS = {
    "python": lambda path: path.write_text("a"),
    "fwrite": lambda path: np.ones(9).tofile(path),
    "safetensors": lambda path: save_file({"a": np.ones(9)}, path),
    "another process": lambda path: subprocess.run(["sh", "-c", 'echo a > "$0"', str(path)], check=True, stderr=-1),
    "folder": lambda path: path.mkdir(),
    "renaming": lambda path: (path.parent.parent / "elsewhere").rename(path),
}


def _try(folder: Path) -> dict[str, object]:
    """What each writer does where the first change fails, where only the second does, and where none does."""
    results = {}
    for name, write in WRITERS.items():
        for at in (1, 2, 0):
            inside = folder / f"{name} {at}"
            inside.mkdir()
            (folder / "elsewhere").write_text("b")
            faults = Faults(inside, at, errno.ENOSPC, once=True, control=folder / "control")
            arm(faults.control)
            try:
                write(inside / "a")
                error = None
            except Exception as raised:
                error = str(getattr(raised, "stderr", None) or raised)
            disarm()
            seen = faults.seen()
            results[inside.name] = [error, seen.changes, list(seen.failed), (inside / "a").exists()]
    return results


def test_each_way_of_writing_is_seen(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.test_faults", str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": str(shim()), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in WRITERS:
        error, changes, failed, there = found[f"{name} 1"]
        assert "No space left on device" in error and changes == 1 and not there
        assert len(failed) == 1 and failed[0].startswith(
            f"{tmp_path}/{name} 1/"
        )  # safetensors renames a file of its own
        error, changes, failed, there = found[f"{name} 2"]
        assert bool(failed) == (changes > 1) == (error is not None)  # NumPy tells how much was written, and not why
        error, changes, failed, there = found[f"{name} 0"]
        assert error is None and changes >= 1 and not failed and there
    assert all(found[f"{name} 0"][1] >= 2 for name in ("python", "fwrite", "safetensors", "another process"))


if __name__ == "__main__":
    print(json.dumps(_try(Path(sys.argv[1]))))
