"""The folders of all attributes and of their controls, extracted where they are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.extraction import Settings, extract_missing
from experiments.extraction.settings import ATTRIBUTES
from experiments.mining.folder import read_folder
from experiments.presets import PresetName
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Setting

CONTROLS: Mapping[str, Mapping[str, Any]] = {"shared": {"init": "shared"}, "shuffled": {"targets": "shuffled"}}
"""Control → how it differs from the run under study."""


def find_or_extract(
    setting: Setting,
    preset: PresetName,
    weights: str | None,
    store: Path,
    controls: Sequence[str],
    reporter: Reporter = SILENT,
) -> tuple[list[Path], list[Path]]:
    """The folders to analyse, those under study and the controls.

    Args:
        setting: of the data sets.
        preset: how much is rendered and trained, :data:`experiments.presets.PRESETS`.
        weights: of the base model; None for the preset's.
        store: folder of data sets, adapters and results.
        controls: names of :data:`CONTROLS`, each made for all attributes, and folders that exist.
        reporter: is told what is found and what begins, and of progress.

    Raises:
        InputError: a control that is neither, or what :func:`experiments.extraction.extract` refuses.
        OSError: something that cannot be read or written.
    """
    names = [name for name in dict.fromkeys(controls) if name in CONTROLS]
    folders = [Path(name) for name in controls if name not in CONTROLS]
    for folder in folders:  # before hours of rendering and training
        read_folder(folder)
    wanted = [
        Settings.of(preset, attribute=attribute, setting=setting, weights=weights, store=store, **changes)
        for changes in ({}, *(CONTROLS[name] for name in names))
        for attribute in ATTRIBUTES
    ]
    found = extract_missing(wanted, reporter)
    return found[: len(ATTRIBUTES)], [*found[len(ATTRIBUTES) :], *folders]
