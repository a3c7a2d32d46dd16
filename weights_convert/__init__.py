"""Conversion of weights between this project's models and other formats."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weights_convert.checkpoint import load_vggt, read_config

__all__ = ["load_vggt", "read_config"]


def __getattr__(name: str) -> object:
    # Commands import weights_convert.command_line first of all, and should not wait for JAX to say what is wrong.
    if name in __all__:
        from weights_convert import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
