"""Compiled programs that outlive the process: the second run of a command starts half a minute earlier."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""Where JAX keeps them if the environment says so."""


def keep_compiled() -> None:
    """Let JAX keep what it compiles, by default in ``~/.cache/attribute-subspaces/xla``.

    Mining compiles hundreds of small programs, none of which takes the second from which on JAX would keep it. To be called
    before anything is compiled. A program is found again only by the same JAX for the same code, shapes, flags and
    processor; a damaged or unwritable folder costs a warning.
    """
    if VARIABLE in os.environ:
        return
    import jax

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attribute-subspaces" / "xla"
    jax.config.update(VARIABLE.lower(), str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
