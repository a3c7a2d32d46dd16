"""Which scenes and views a step sees: a pure function of seed, step and adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from experiments.training.augmentation import ColorAugmentation
from experiments.training.batch import TrainingBatch
from subspace.errors import InputError


class Views(Protocol):
    """S views of one scene, as :class:`experiments.data.dataset.Views` holds them."""

    @property
    def images(self) -> UInt8[np.ndarray, "s h w 3"]: ...
    @property
    def depths(self) -> Float[np.ndarray, "s h w"]: ...
    @property
    def valid(self) -> Bool[np.ndarray, "s h w"]: ...
    @property
    def intrinsics(self) -> Float[np.ndarray, "s 3 3"]: ...
    @property
    def extrinsics(self) -> Float[np.ndarray, "s 3 4"]: ...
    @property
    def world_points(self) -> Float[np.ndarray, "s h w 3"]: ...


class Scene(Protocol):
    """A scene whose views can be read, such as :class:`experiments.data.dataset.StoredScene`."""

    @property
    def num_views(self) -> int: ...
    def load(self, view_indices: Sequence[int]) -> Views: ...


Encode = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n p c"]]
"""Images → the frozen encoder's tokens, see :class:`experiments.training.feature_cache.FeatureCache`."""


def view_counts(images: int, *, fewest: int = 4, most: int = 16, multiple: int = 1) -> tuple[int, ...]:
    """How many views a sequence may have when every step sees ``images`` of them: the divisors from ``fewest`` to ``most``.

    A step is compiled for each of its shapes, so there are few: 4, 8 and 16 views for the paper's 32 images. ``multiple``
    is what the number of sequences must be a multiple of, the size of the mesh's ``data`` axis.

    Raises ValueError if there is none.
    """
    counts = tuple(s for s in range(fewest, most + 1) if images % (s * multiple) == 0)
    if not counts:
        raise InputError(f"no number of views from {fewest} to {most} divides {images} images among {multiple} devices")
    return counts


@dataclass(frozen=True)
class BatchSampler:
    """Step → batch of k adapters, NumPy arrays (k, B, S, ...) with B·S = ``images``, the same in any order and process.

    ``datasets`` maps each adapter's number to its scenes; an adapter sees the same batches whichever others it is trained
    with. All of them get the same number of views in a step, drawn evenly from ``counts``; scenes are drawn without
    repetition where there are enough, views in random order, of which the first is the reference. ``encode`` adds the
    frozen encoder's tokens.

    Raises ValueError for a scene with too few views, counts that do not divide ``images``, and ``encode`` together with
    ``augmentation``, which would make new images of each.
    """

    datasets: Mapping[int, Sequence[Scene]]
    images: int
    counts: tuple[int, ...]
    seed: int
    augmentation: ColorAugmentation | None = None
    encode: Encode | None = None

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
        views = int(np.random.default_rng([self.seed, step]).choice(self.counts))
        adapters = [self._sequences(number, step, views) for number in self.datasets]

        def stacked(read: Callable[[Views], np.ndarray]) -> np.ndarray:
            return np.stack([np.stack([read(sequence) for sequence in sequences]) for sequences in adapters])

        pixels = stacked(lambda found: found.images)
        images = pixels.astype(np.float32) / 255
        if self.augmentation is not None:
            for number, sequences in zip(self.datasets, images, strict=True):
                rng = np.random.default_rng([self.seed, step, number, 1])
                sequences[:] = [self.augmentation(sequence, rng) for sequence in sequences]
        tokens = None
        if self.encode is not None:
            tokens = self.encode(pixels.reshape(-1, *pixels.shape[3:]))
            tokens = tokens.reshape(*pixels.shape[:3], *tokens.shape[1:])
        arrays: dict[str, Any] = {
            "images": images,
            "depths": stacked(lambda found: found.depths),
            "point_masks": stacked(lambda found: found.valid),
            "extrinsics": stacked(lambda found: found.extrinsics),
            "intrinsics": stacked(lambda found: found.intrinsics),
            "world_points": stacked(lambda found: found.world_points),
            "patch_tokens": tokens,
        }
        return TrainingBatch(**arrays)

    def _sequences(self, number: int, step: int, views: int) -> list[Views]:
        rng = np.random.default_rng([self.seed, step, number, 0])
        scenes, count = self.datasets[number], self.images // views
        chosen = rng.choice(len(scenes), count, replace=len(scenes) < count)
        return [scenes[i].load(rng.permutation(scenes[i].num_views)[:views].tolist()) for i in map(int, chosen)]
