"""The folders of all attributes and of their controls, extracted where they are missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from experiments.extraction import ATTRIBUTES, extract_missing
from experiments.extraction import Settings as Extraction
from experiments.extraction.settings import GRADIENT_BATCHES
from experiments.mining.folder import read_folder
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import StrPath, listed, path_of

Control = Literal["shared", "shuffled", "full", "gradient"]
"""How a control differs from the run under study: one draw of the input factors for all adapters, targets of other scenes, or
updates of full fine-tuning or of one mean gradient in place of LoRAs."""
CONTROLS: tuple[Control, ...] = get_args(Control)


def find_or_extract(
    extraction: Extraction, controls: StrPath | Iterable[Control | StrPath] = (), reporter: Reporter = SILENT
) -> tuple[list[Path], list[Path]]:
    """The folders to analyse, those under study and the controls; what the store does not hold yet is extracted.

    Args:
        extraction: settings of all attributes but for the attribute itself.
        controls: names, each made for all attributes, and folders that exist; any other string is a folder.
        reporter: told of what is found and what begins, and of progress.

    Raises:
        InputError: a folder of a control that is none, or what :func:`experiments.extraction.extract` refuses.
        OSError: something that cannot be read or written.
    """
    given = listed(controls, "controls")
    folders = [path_of(control, "controls") for control in given if control not in CONTROLS]
    for folder in folders:  # before hours of rendering and training
        read_folder(folder)
    named: list[Control] = [control for control in CONTROLS if control in given]
    runs = [extraction, *(_under(extraction, control) for control in named)]
    found = extract_missing([replace(run, attribute=name) for run in runs for name in ATTRIBUTES], reporter)
    return found[: len(ATTRIBUTES)], [*found[len(ATTRIBUTES) :], *folders]


def _under(extraction: Extraction, control: Control) -> Extraction:
    match control:
        case "shared":
            return replace(extraction, init="shared")
        case "shuffled":
            return replace(extraction, targets="shuffled")
        case "full":
            return replace(extraction, updates="full")
        case "gradient":
            steps = min(GRADIENT_BATCHES, extraction.training.steps)
            return replace(extraction, updates="gradient", training=replace(extraction.training, steps=steps))
