"""What names a scene of a task, its random stream, and the fields of its specification that all tasks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from experiments.data.manifest import Split, Task, TaskSettings
from experiments.synthetic import schema


@dataclass(frozen=True)
class Name:
    """Of a scene, as :data:`experiments.synthetic.runs.SceneMaker` is given it."""

    settings: TaskSettings
    dataset: int
    scene: int
    attempt: int

    def stream(self, redraw: int = 0) -> np.random.Generator:
        """All that is random about the scene; splits share nothing."""
        settings = self.settings
        key = (get_args(Task).index(settings.task), get_args(Split).index(settings.split))
        place = (self.dataset, self.scene, self.attempt, redraw)
        # No stream of experiments.synthetic.streams has a key of this length with such a beginning.
        return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(_TASKS, *key, *place)))

    def provenance(self, setting: schema.Setting) -> schema.Provenance:
        return schema.Provenance(
            attribute="mixed",
            setting=setting,
            seed=self.settings.seed,
            dataset=self.dataset,
            scene=self.scene,
            attempt=self.attempt,
            task=self.settings.title,
        )


_TASKS = 1000
