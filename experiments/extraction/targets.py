"""What adapters are trained towards: the truth of the scene in the images, or, as a control, that of another scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.data.dataset import StoredScene
from experiments.data.observations import Observation
from subspace.errors import InputError


@dataclass(frozen=True)
class MispairedScene:
    """The images of one scene with depth, validity and cameras of another, view by view."""

    pictured: StoredScene
    """The scene that images are of."""
    truth: StoredScene
    """The scene that everything else is of."""

    @property
    def num_views(self) -> int:
        """Number of views that both scenes have."""
        return min(self.pictured.num_views, self.truth.num_views)

    def observe(self, view: int) -> Observation:
        """Read a view; raises as :meth:`StoredScene.observe`."""
        return replace(self.truth.observe(view), image=self.pictured.observe(view).image)


def shuffled(datasets: Mapping[int, Sequence[StoredScene]], seed: int) -> dict[int, list[MispairedScene]]:
    """Every scene with the truth of a scene of the next data set, the last's with that of the first.

    Within a data set of the texture or the lighting all scenes have one truth, so that shuffling there would change
    nothing. This keeps what an adapter's targets are like (one data set, in which the attribute varies) and that no two
    adapters have the same ones; only what they have to do with the images goes.

    Args:
        datasets: number → scenes, at least two data sets.
        seed: of the scenes' order; the same seed gives the same pairs. Each truth is used equally often, as far as the
            numbers of scenes allow.

    Raises:
        InputError: a single data set, in which there may be no other truth.
    """
    if len(datasets) < 2:
        raise InputError(f"shuffled targets need at least two data sets, got {len(datasets)}")
    numbers = list(datasets)
    found = {}
    for number, other in zip(numbers, [*numbers[1:], numbers[0]], strict=True):
        truths = datasets[other]
        order = np.random.default_rng([seed, number]).permutation(len(truths))
        found[number] = [
            MispairedScene(scene, truths[order[i % len(order)]]) for i, scene in enumerate(datasets[number])
        ]
    return found
