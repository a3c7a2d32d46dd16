"""A disk that is full at any change of a checkpoint: one error, no traceback, nothing left, and the next one is whole."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.robustness.faults import Faults, arm, disarm, shim

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="the shim is in C")]
ROOT = Path(__file__).parents[2]


def _try(folder: Path, at: int, once: bool) -> dict | None:
    """What a full disk at one change of the second checkpoint did; None if there are not so many changes."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from experiments.training.checkpoints import Checkpoints
    from tests.experiments.training import short_run

    states = [replace(short_run.one_matrix()[1], step=jnp.asarray(step, jnp.int32)) for step in (1, 2, 3)]
    faults = Faults(folder, at, errno.ENOSPC, once=once, control=folder.with_suffix(".control"))
    error = ""
    with Checkpoints(folder, keep=1) as checkpoints:
        checkpoints.save(states[0])
        arm(faults.control)
        try:
            checkpoints.save(states[1])
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        disarm()
        if not faults.seen().failed:
            return None
        left = sorted(os.listdir(folder))
        checkpoints.save(states[2])
        restored = checkpoints.restore(states[0])
    equal = all(map(np.array_equal, jax.tree.leaves(restored), jax.tree.leaves(states[2])))
    return {"at": at, "once": once, "error": error, "left": left, "equal": equal, "then": sorted(os.listdir(folder))}


def test_nothing_is_left_and_nothing_is_said_but_one_error(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.test_full_checkpoints", str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": str(shim()), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tried) >= 20
    for each in tried:
        assert each["error"].startswith("DiskFullError: ") and "\n" not in each["error"], each
        assert each["left"] in (["1"], ["2"], ["1", "2"]), each
        assert each["equal"] and each["then"] == ["3"], each


if __name__ == "__main__":
    for once in (True, False):
        at = 1
        while found := _try(Path(sys.argv[1]) / f"{at} {once}", at, once):
            print(json.dumps(found))
            at += 1
