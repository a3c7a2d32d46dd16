"""What a process runs, as the nodes of a cluster must all run the same: results would differ otherwise."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from subspace.errors import InputError

_PACKAGES = ("subspace", "vggt_jax", "weights_convert", "experiments")
_LIBRARIES = ("numpy", "jax", "OpenEXR")
"""Those that results depend on."""


@cache
def here() -> Mapping[str, str]:
    """What this process runs: name → version. The project's is a hash of its code, installed or not."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {"attribute-subspaces": f"code {_digest()}", "Python": platform.python_version(), **libraries}


def _digest() -> str:
    root = Path(__file__).parents[2]
    code = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            code.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return code.hexdigest()[:8]


def difference(expected: Mapping[str, str], found: Mapping[str, str], host: str) -> str | None:
    """In words, what a node has in another version; None where there is no difference."""
    for name, version in expected.items():
        if found.get(name) != version:
            return f"{host} has {name} {found.get(name, 'in no version')}, this process has {version}"
    return None


def check(expected: Mapping[str, str]) -> None:
    """To be called on a node. Raises InputError unless it runs what is expected."""
    if (problem := difference(expected, here(), socket.gethostname())) is not None:
        raise InputError(f"{problem}; all nodes need the same", argument="executor")
