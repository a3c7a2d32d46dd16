"""The tasks' data sets and the attributes' subspaces, made when a run needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.data.manifest import Split, Task
from experiments.data.production import dataset_name
from experiments.extract import extract_missing
from experiments.extraction.choice import choose
from experiments.presets import PresetName
from experiments.reproduction.data_sheets import DataSheet, describe
from experiments.reproduction.plan import Subspaces
from experiments.reproduction.scale import Scale
from experiments.tasks import Settings, prepare


@dataclass(frozen=True)
class Materials:
    """Makes what is missing and finds the rest below ``store``.

    Args:
        preset: of data and extraction.
        scale: what the paper's sizes become.
        weights: of the base model.
        store: of data sets, adapters and subspaces, shared with the other commands.
        data: folder of the user's own data sets, made by ``experiments.prepare``; stand-ins are rendered for the others.
        announce: gets a line when something long begins.
        workers: Blender processes; by default one for each core.
        blender: see :func:`experiments.rendering.blender_command.worker_command`.
    """

    preset: PresetName
    scale: Scale
    weights: str
    store: Path
    data: Path
    announce: Callable[[str], object]
    workers: int | None = None
    blender: str | None = None

    def dataset(self, task: Task, split: Split) -> Path:
        """``DATA/TASK/SPLIT/dataset_00`` if it is there, or else the stand-in; raises as :func:`experiments.tasks.prepare`."""
        given = self.data / task / split / dataset_name(0)
        if given.exists():
            return given
        settings = Settings.of(self.preset, task, split, store=self.store, workers=self.workers, blender=self.blender)
        made = prepare(settings)
        if made.written:
            self.announce(f"rendered {made.written} scenes of {task} {split} to {made.folder}")
        return made.folder

    def sheet(self, folder: Path) -> DataSheet:
        """See :func:`experiments.reproduction.data_sheets.describe`."""
        return describe(folder)

    def subspaces(self, wanted: Subspaces) -> tuple[Path, ...]:
        """One folder of ``experiments.extract`` for each attribute; raises what :func:`experiments.extract.extract` raises."""
        choices = [
            choose(
                attribute=attribute,
                setting=wanted.setting,
                preset=self.preset,
                store=str(self.store),
                weights=self.weights,
                rank=self.scale.size(wanted.mined_rank),
                dim=self.scale.size(self.scale.mined_dim),
                workers=self.workers,
                blender=self.blender,
            )
            for attribute in wanted.attributes
        ]
        return tuple(Path(os.path.abspath(path)) for path in extract_missing(choices))
