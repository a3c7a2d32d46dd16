"""Independent random streams: one for each part of a scene, keyed by what the part may depend on.

A part that the attribute varies is drawn anew for every scene; every other part depends on the data set alone, so that
it is the same in all its scenes whatever their number, and whatever the varying part does with its own stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from experiments.scenes.schema import Attribute, Setting

Part = Literal["objects", "materials", "lighting", "cameras"]
PARTS: tuple[Part, ...] = get_args(Part)

VARIED: dict[Attribute, tuple[Part, ...]] = {
    "texture": ("materials",),
    "geometry": ("objects",),
    "camera": ("cameras",),
    "lighting": ("lighting",),
    "mixed": PARTS,
}
"""The part that each attribute of the paper (Section 4.1) varies from scene to scene."""


@dataclass(frozen=True)
class Origin:
    """What names a scene. ``redraw`` counts the draws that were thrown away because a camera had no room."""

    attribute: Attribute
    """The attribute that varies."""
    setting: Setting
    """The kind of scene and of camera path."""
    seed: int
    """Seed of the whole run."""
    dataset: int
    """Number of the data set."""
    scene: int
    """Number of the scene in the data set."""
    attempt: int = 0
    """Number of the attempt at the scene, from 0."""
    redraw: int = 0
    """Number of the draws that were thrown away."""

    def varies(self, part: Part) -> bool:
        return part in VARIED[self.attribute]

    def dataset_stream(self, part: Part) -> np.random.Generator:
        """The stream of what all scenes of the data set share; a mixed data set's scenes share nothing."""
        if self.attribute == "mixed":
            return self._stream(part, 0, self.scene, self.attempt, self.redraw)
        return self._stream(part, 0)

    def scene_stream(self, part: Part) -> np.random.Generator:
        """The stream of what is this scene's own."""
        return self._stream(part, 1, self.scene, self.attempt, self.redraw)

    def _stream(self, part: Part, *key: int) -> np.random.Generator:
        names = (get_args(Attribute).index(self.attribute), get_args(Setting).index(self.setting), PARTS.index(part))
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*names, self.dataset, *key)))
