"""The subspace of one attribute: data sets in which it varies, a LoRA adapter on each, and what the adapters share::

from experiments.extraction import Settings, extract, load_subspace

found = extract(Settings.of("nano", attribute="texture"))
found.folder, found.matrices[0].held_out
load_subspace(found.folder / "subspace.safetensors").factors
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.extraction.pipeline import Extracted as Extracted
    from experiments.extraction.pipeline import extract as extract
    from experiments.extraction.pipeline import extract_missing as extract_missing
    from experiments.extraction.pipeline import load_subspace as load_subspace
    from experiments.extraction.settings import ATTRIBUTES as ATTRIBUTES
    from experiments.extraction.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pipeline": ["Extracted", "extract", "extract_missing", "load_subspace"],
        "settings": ["ATTRIBUTES", "Settings"],
    },
)
