"""Conversion of weights between this project's models and other formats."""

import sys
from typing import TYPE_CHECKING

import lazy_loader

from weights_convert import stopping

if TYPE_CHECKING:
    from weights_convert.checkpoint import load_vggt, read_config
    from weights_convert.names import from_official, to_official
    from weights_convert.peft import read_peft, read_peft_deltas, write_peft

__all__ = ["from_official", "load_vggt", "read_config", "read_peft", "read_peft_deltas", "to_official", "write_peft"]

# what only asks for a file's name should not wait for JAX
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["load_vggt", "read_config"],
        "names": ["from_official", "to_official"],
        "peft": ["read_peft", "read_peft_deltas", "write_peft"],
    },
)

if sys.argv[:1] == ["-m"]:  # which Python puts there while it looks for the module that it is to run
    stopping.end_without_words()
