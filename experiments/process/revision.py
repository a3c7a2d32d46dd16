"""Which code ran."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the code that runs, with "modified" where files differ from it; "unknown" outside of git."""
    try:
        here = Path(__file__).parent
        options = {"cwd": here, "capture_output": True, "text": True, "check": True}
        revision = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision} (modified)" if changed else revision
