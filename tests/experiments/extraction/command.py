"""``python -m experiments.extract`` as its users run it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(*arguments, cwd, timeout=300):
    """The finished process, started in the folder ``cwd``."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.extract", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        timeout=timeout,
    )
