"""Names of the leaves of a pytree."""

from __future__ import annotations

from typing import Any

import jax


def dotted(path: Any) -> str:
    """The keys of a leaf joined by dots, ``aggregator.frame_blocks.attn.qkv.kernel`` for a parameter of the model."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
