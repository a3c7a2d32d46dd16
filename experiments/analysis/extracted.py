"""The folders of all attributes and of their controls, extracted where they are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.extract import extract_missing
from experiments.extraction.choice import ATTRIBUTES, choose
from experiments.mining.folder import read_folder
from experiments.presets import PresetName
from experiments.scenes.schema import Setting

CONTROLS: Mapping[str, Mapping[str, Any]] = {"shared": {"init": "shared"}, "shuffled": {"targets": "shuffled"}}
"""Control → how it differs from the run under study."""


def find_or_extract(
    setting: Setting, preset: PresetName, weights: str | None, store: str, controls: Sequence[str]
) -> tuple[list[Path], list[Path]]:
    """The folders to analyse, those under study and the controls.

    Args:
        setting: of the data sets.
        preset: how much is rendered and trained, :data:`experiments.presets.PRESETS`.
        weights: of the base model; None for the preset's.
        store: folder of data sets, adapters and results.
        controls: names of :data:`CONTROLS`, each made for all attributes, and folders that exist.

    Raises:
        ValueError: a control that is neither, or what :func:`experiments.extract.extract` refuses.
        OSError: something that cannot be read or written.
    """
    names = [name for name in dict.fromkeys(controls) if name in CONTROLS]
    folders = [Path(name) for name in controls if name not in CONTROLS]
    for folder in folders:  # before hours of rendering and training
        read_folder(folder)
    choices = [
        choose(attribute=attribute, setting=setting, preset=preset, weights=weights, store=store, **changes)
        for changes in ({}, *(CONTROLS[name] for name in names))
        for attribute in ATTRIBUTES
    ]
    found = extract_missing(choices)
    return found[: len(ATTRIBUTES)], [*found[len(ATTRIBUTES) :], *folders]
