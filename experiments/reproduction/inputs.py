"""The tasks' data sets and the attributes' subspaces, made when a run needs them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from experiments.data.dataset import Dataset
from experiments.data.manifest import MANIFEST, Split, Task
from experiments.data.production import dataset_name
from experiments.evaluation.views import choose_views, view_lists
from experiments.extraction import Settings as ExtractionSettings
from experiments.extraction import extract_missing
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.data_sheets import DataSheet, describe
from experiments.reproduction.plan import Plan, Subspaces
from experiments.reproduction.scale import scaled
from experiments.reproduction.settings import Settings
from experiments.tasks import Settings as TaskSettings
from experiments.tasks import prepare
from experiments.tasks.preparation import check_extra
from subspace.errors import InputError

VALIDATION = "validation"
"""Folder of the user's own validation data beside the splits."""
_OTHER_SEED = 1000
"""Of validation scenes; test scenes have 0."""


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
        made = prepare(self._wanted(task, split), self.reporter)
        if made.written:
            self.reporter.info(f"rendered {made.written} scenes of {task} {split} to {made.folder}")
        return made.folder

    def validation(self, task: Task) -> Path:
        """Scenes of the test data's kind that are no test scenes: the user's, or the stand-in with another seed.

        Raises InputError if the test scenes are the user's recordings and no validation scenes of theirs are there.
        """
        given = self.settings.data_folder / task / VALIDATION / dataset_name(0)
        if given.exists():
            return given
        tested = self.dataset(task, "test")
        if (recorded := self.sheet(tested).recorded) is not None:
            raise InputError(
                f"{tested} holds recordings ({recorded}), and {given} is not there to validate on",
                argument="validate_on",
            )
        wanted = replace(self._wanted(task, "test"), seed=_OTHER_SEED, scenes=self.settings.scale.held_out)
        return prepare(wanted, self.reporter).folder

    def check(self, plan: Plan) -> None:
        """Raises InputError if data sets have to be rendered for which an optional package is missing, or if it is not known
        which views of those that are there are evaluated."""
        needed: list[tuple[Task, Split]] = [*((table.task, "train") for table in plan.tables), *plan.tests]
        for task, split in dict.fromkeys(needed):
            name, wanted = dataset_name(0), self._wanted(task, split)
            folders = (self.settings.data_folder / task / split / name, wanted.task_folder / split / name)
            if not any((folder / MANIFEST).exists() for folder in folders):
                check_extra(task, split)
            elif split != "train":
                self._check_views(task, next(folder for folder in folders if (folder / MANIFEST).exists()))

    def _check_views(self, task: Task, folder: Path) -> None:
        views = Dataset(folder).manifest.settings.views
        try:
            choose_views(None, views, task)
        except InputError:
            suited = sorted(
                {each.of for each in view_lists().values() if each.default and task in (each.tasks or (task,))}
            )
            raise InputError(
                f"{folder} has scenes with {views} views: which of them are evaluated is laid down for scenes with "
                f"{', '.join(map(str, suited))}",
                argument="data",
            ) from None

    def _wanted(self, task: Task, split: Split) -> TaskSettings:
        settings = self.settings
        return TaskSettings.of(
            settings.preset,
            task,
            split,
            store=settings.store,
            workers=settings.workers,
            blender=settings.blender,
            executor=settings.executor,
        )

    def sheet(self, folder: Path) -> DataSheet:
        """See :func:`experiments.reproduction.data_sheets.describe`."""
        return describe(folder)

    def subspaces(self, wanted: Subspaces) -> tuple[Path, ...]:
        """One folder of ``experiments.extract`` for each attribute; raises as :func:`experiments.extraction.extract`."""
        settings, dim = self.settings, wanted.mined_dim
        updates = "lora" if wanted.updates is msgspec.UNSET else wanted.updates
        each = [
            ExtractionSettings.of(
                settings.preset,
                attribute=attribute,
                setting=wanted.setting,
                store=settings.store,
                weights=settings.base_weights,
                rank=scaled(settings.scale, wanted.mined_rank),
                dim=scaled(settings.scale, settings.scale.mined_dim if dim is msgspec.UNSET else dim),
                seed=None if wanted.mining is msgspec.UNSET else wanted.mining,
                updates="lora" if updates == "second_pass" else updates,
                workers=settings.workers,
                blender=settings.blender,
                executor=settings.executor,
            )
            for attribute in wanted.attributes
        ]
        found = extract_missing(each, self.reporter)
        if updates == "second_pass":
            second = [replace(first, outputs=folder) for first, folder in zip(each, found, strict=True)]
            found = extract_missing(second, self.reporter)
        return tuple(Path(os.path.abspath(path)) for path in found)
