"""MATLAB's files, read with SciPy in a process of its own: a damaged one can bring SciPy's compiled reader down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from subspace.errors import InputError
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.regular import check_regular

_PROGRAM = Path(__file__).with_name("mat_program.py")
_SECONDS = 300
_MEMORY = 1 << 33
"""Bytes of the process, beyond which the file is no list of cameras."""


def read_frames(path: Path, frames: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Frame → field → numbers, of the frames and fields that are there.

    Raises:
        InputError: the file is damaged, or a field holds no numbers.
        OSError: it cannot be read.
    """
    check_regular(path)
    status = path.stat()
    return _read(path, tuple(frames), tuple(fields), (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _read(
    path: Path, frames: tuple[str, ...], fields: tuple[str, ...], _: tuple[int, int]
) -> dict[str, dict[str, np.ndarray]]:
    wanted = json.dumps({"frames": frames, "fields": fields, "memory": _MEMORY})
    command = [sys.executable, "-I", str(_PROGRAM), str(path.absolute())]
    try:
        done = subprocess.run(command, input=wanted, capture_output=True, text=True, timeout=_SECONDS)
        if done.returncode:
            raise ValueError(done.stderr.strip().rpartition("\n")[2] or "its reader ended early")
        return {
            frame: {field: np.array(values, np.float64) for field, values in found.items()}
            for frame, found in parse_json(done.stdout).items()
        }
    except (ValueError, TypeError, AttributeError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None
