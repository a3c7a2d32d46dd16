"""Which parts of a model may change, and how patterns choose among names of matrices and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from subspace.errors import InputError

ADAPTABLE_PARTS = ("aggregator.frame_blocks", "aggregator.global_blocks", "camera_head", "depth_head")
"""Modules whose every Linear and Conv may take an update; encoder, point head and track head stay as they are."""
HEADS = ("camera_head.*", "depth_head.*")
"""Patterns of the heads' matrices, where the paper keeps a plain LoRA beside its M."""


def matching(names: Mapping[str, Sequence[str]], patterns: Sequence[str], kind: str) -> set[str]:
    """The names that one of the ``patterns`` matches, such as ``aggregator.*`` or ``*.mlp.fc?``.

    Args:
        names: each name, with the spellings of which a pattern may match any.
        patterns: ``*`` stands for any characters, dots included.
        kind: what the names are of, for messages.

    Raises InputError for patterns that match nothing, and without any.
    """
    if not patterns:
        raise InputError(
            f"matrices: name at least one pattern; names are like {next(iter(names), '')}", argument="matrices"
        )
    matched = {
        pattern: {name for name, spellings in names.items() if any(fnmatchcase(each, pattern) for each in spellings)}
        for pattern in patterns
    }
    if empty := [pattern for pattern, found in matched.items() if not found]:
        raise InputError(f"no {kind} matches {', '.join(empty)}; names are like {next(iter(names), '')}")
    return set().union(*matched.values())
