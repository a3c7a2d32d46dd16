"""What names a scene of a task, its random stream, and the fields of its specification that all tasks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float

from experiments.data.manifest import Split, Task, TaskSettings
from experiments.scenes import schema
from experiments.synthetic.draws import pick, uniform


@dataclass(frozen=True)
class Name:
    """Of a scene, as :data:`experiments.rendering.runs.SceneMaker` is given it."""

    settings: TaskSettings
    """Settings of the split."""
    dataset: int
    """Number of the data set."""
    scene: int
    """Number of the scene in the data set."""
    attempt: int
    """Number of the attempt at the scene, from 0."""

    def stream(self, redraw: int = 0) -> np.random.Generator:
        """All that is random about the scene; splits share nothing."""
        settings = self.settings
        key = (get_args(Task).index(settings.task), get_args(Split).index(settings.split))
        place = (self.dataset, self.scene, self.attempt, redraw)
        # No stream of experiments.scenes.streams has a key of this length with such a beginning.
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


def azimuths(rng: np.random.Generator, settings: TaskSettings) -> Float[np.ndarray, " views"]:
    """Where the views stand about the things, in radians: in even steps over the settings' turn, in either direction.

    The last is one step short of the turn, so that a whole one has no view twice.
    """
    assert settings.turn is not None
    steps = np.radians(settings.turn) * np.arange(settings.views) / settings.views
    return uniform(rng, (0, 2 * np.pi)) + pick(rng, [-1.0, 1.0]) * steps


_TASKS = 1000
