"""Compiled programs that outlive the process: the second run of a command starts half a minute earlier."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""Where JAX keeps them if the environment says so."""


@dataclass
class Programs:
    """Programs that JAX has needed so far."""

    compiled: int = 0
    """Number of those that were compiled."""
    found: int = 0
    """Number of those that were found in the cache."""


PROGRAMS = Programs()
"""Those of this process since :func:`count_programs`."""
_COUNTING: list[bool] = []


def count_programs() -> None:
    """From now on count in :data:`PROGRAMS`; to be called any number of times."""
    if _COUNTING:
        return
    _COUNTING.append(True)
    from jax import monitoring

    def finished(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":  # looking in the cache counts as compiling
            PROGRAMS.compiled += 1

    def happened(event: str, **kwargs: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            PROGRAMS.found += 1
            PROGRAMS.compiled -= 1

    monitoring.register_event_duration_secs_listener(finished)
    monitoring.register_event_listener(happened)


def keep_compiled() -> None:
    """Let JAX keep what it compiles, by default in ``~/.cache/attribute-subspaces/xla``.

    Mining compiles hundreds of small programs, none of which takes the second from which on JAX would keep it. To be called
    before anything is compiled. A program is found again only by the same JAX for the same code, shapes, flags and
    processor; a damaged or unwritable folder costs a warning. Without a home, nothing is kept.
    """
    if VARIABLE in os.environ:
        return
    try:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # this user has no home
        return
    import jax

    cache = kept / "attribute-subspaces" / "xla"
    jax.config.update(VARIABLE.lower(), str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
