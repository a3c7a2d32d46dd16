"""Conversion of weights between this project's models and other formats."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weights_convert.checkpoint import load_vggt, read_config
    from weights_convert.peft import read_peft, write_peft

__all__ = ["load_vggt", "read_config", "read_peft", "write_peft"]


def __getattr__(name: str) -> object:
    # Commands import weights_convert.command_line first of all, and should not wait for JAX to say what is wrong.
    if name in __all__:
        module = "peft" if name.endswith("_peft") else "checkpoint"
        return getattr(import_module(f"weights_convert.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
