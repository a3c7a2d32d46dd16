"""The tasks' data sets and the attributes' subspaces, made when a run needs them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from experiments.data.manifest import Split, Task
from experiments.data.production import dataset_name
from experiments.extraction import Settings as ExtractionSettings
from experiments.extraction import extract_missing
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.data_sheets import DataSheet, describe
from experiments.reproduction.plan import Subspaces
from experiments.reproduction.scale import scaled
from experiments.reproduction.settings import Settings
from experiments.tasks import Settings as TaskSettings
from experiments.tasks import prepare


@dataclass(frozen=True)
class RunInputs:
    """Makes what is missing and finds the rest in the store."""

    settings: Settings
    """Store, sizes and the base model."""
    reporter: Reporter = SILENT
    """Gets a line when something long begins."""

    def dataset(self, task: Task, split: Split) -> Path:
        """``DATA/TASK/SPLIT/dataset_00`` if it is there, or else the stand-in; raises as :func:`experiments.tasks.prepare`."""
        given = self.settings.data_folder / task / split / dataset_name(0)
        if given.exists():
            return given
        settings = self.settings
        wanted = TaskSettings.of(
            settings.preset, task, split, store=settings.store, workers=settings.workers, blender=settings.blender
        )
        made = prepare(wanted, self.reporter)
        if made.written:
            self.reporter.info(f"rendered {made.written} scenes of {task} {split} to {made.folder}")
        return made.folder

    def sheet(self, folder: Path) -> DataSheet:
        """See :func:`experiments.reproduction.data_sheets.describe`."""
        return describe(folder)

    def subspaces(self, wanted: Subspaces) -> tuple[Path, ...]:
        """One folder of ``experiments.extract`` for each attribute; raises as :func:`experiments.extraction.extract`."""
        settings = self.settings
        each = [
            ExtractionSettings.of(
                settings.preset,
                attribute=attribute,
                setting=wanted.setting,
                store=settings.store,
                weights=settings.base_weights,
                rank=scaled(settings.scale, wanted.mined_rank),
                dim=scaled(settings.scale, settings.scale.mined_dim),
                workers=settings.workers,
                blender=settings.blender,
            )
            for attribute in wanted.attributes
        ]
        return tuple(Path(os.path.abspath(path)) for path in extract_missing(each, self.reporter))
