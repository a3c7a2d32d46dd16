"""Which scenes and views a step sees: a pure function of seed, step and adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from experiments.data.observations import LoadableScene, View, ViewReader, stacked
from experiments.training.augmentation import ColorAugmentation
from experiments.training.batch import TrainingBatch
from subspace.errors import InputError

Encode = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n p c"]]
"""Images → the frozen encoder's tokens, see :class:`experiments.training.feature_cache.FeatureCache`."""


def view_counts(images: int, *, fewest: int = 4, most: int = 16) -> tuple[int, ...]:
    """How many views a sequence may have when every step sees ``images`` of them: the divisors from ``fewest`` to ``most``.

    A step is compiled for each of its shapes, so there are few: 4, 8 and 16 views for the paper's 32 images.

    Raises InputError if there is none.
    """
    counts = tuple(s for s in range(fewest, most + 1) if images % s == 0)
    if not counts and fewest == most:
        raise InputError(
            f"images must be a multiple of {fewest}, the views of a sequence, got {images}", argument="images"
        )
    if not counts:
        raise InputError(
            f"images: no number of views from {fewest} to {most} divides {images} images", argument="images"
        )
    return counts


def sampling_version(counts: Sequence[int]) -> int:
    """2 where the number of views is drawn, else 1: version 1 drew it from the numbers that chose the scenes of data set 0."""
    return 1 if len(counts) == 1 else 2


@dataclass(frozen=True)
class BatchSampler:
    """Step → batch of k adapters, NumPy arrays (k, B, S, ...) with B·S = ``images``, the same in any order and process.

    All adapters get the same number of views in a step, drawn evenly from ``counts``; scenes are drawn without
    repetition where there are enough, views in random order, of which the first is the reference.

    Raises InputError for a scene with too few views, counts that do not divide ``images``, and ``encode`` together with
    ``augmentation``, which would make new images of each.
    """

    datasets: Mapping[int, Sequence[LoadableScene]]
    """Scenes of each adapter by its number. An adapter sees the same batches whichever others it is trained with."""
    images: int
    """Images that each adapter sees in a step."""
    counts: tuple[int, ...]
    """Numbers of views that a sequence may have; each divides ``images``."""
    seed: int
    """Seed of scenes, views and augmentation."""
    augmentation: ColorAugmentation | None = None
    """Change of the images' colours; None for none."""
    encode: Encode | None = None
    """Adds the frozen encoder's tokens of the images; None for batches without tokens."""
    read: ViewReader = field(default_factory=ViewReader)
    """Reads the views, and remembers some."""

    def __post_init__(self) -> None:
        if not self.datasets or not all(len(scenes) for scenes in self.datasets.values()):
            raise InputError("datasets: every adapter needs at least one scene")
        if not self.counts or any(count < 1 or self.images % count for count in self.counts):
            raise InputError(f"view counts {self.counts} must divide {self.images} images")
        for number, scenes in self.datasets.items():
            for place, scene in enumerate(scenes):
                if scene.num_views < max(self.counts):
                    raise InputError(
                        f"data set {number}, scene {place}: has {scene.num_views} views, {max(self.counts)} are needed"
                    )
        if self.augmentation is not None and self.encode is not None:
            raise InputError("augmented images are new ones each time: their tokens cannot be cached")

    def __call__(self, step: int) -> TrainingBatch:
        # [seed, step] would be padded to [seed, step, 0, 0], which draws the scenes of data set 0
        rng = np.random.default_rng([self.seed, step, 0, 2])
        views = int(rng.choice(self.counts))
        chosen = [view for number in self.datasets for view in self._choose(number, step, views)]
        arrays: dict[str, Any] = stacked(self.read(chosen), len(self.datasets), self.images // views, views)
        pixels = arrays["images"]
        if self.augmentation is not None:
            arrays["images"] = pixels.astype(np.float32) / 255
            for number, sequences in zip(self.datasets, arrays["images"], strict=True):
                rng = np.random.default_rng([self.seed, step, number, 1])
                sequences[:] = [self.augmentation(sequence, rng) for sequence in sequences]
        if self.encode is not None:
            tokens = self.encode(pixels.reshape(-1, *pixels.shape[3:]))
            arrays["patch_tokens"] = tokens.reshape(*pixels.shape[:3], *tokens.shape[1:])
        return TrainingBatch(**arrays)

    def _choose(self, number: int, step: int, views: int) -> list[View]:
        """What an adapter sees, one sequence after the other."""
        rng = np.random.default_rng([self.seed, step, number, 0])
        scenes, count = self.datasets[number], self.images // views
        chosen = rng.choice(len(scenes), count, replace=len(scenes) < count)
        return [(scenes[i], int(view)) for i in chosen for view in rng.permutation(scenes[i].num_views)[:views]]
