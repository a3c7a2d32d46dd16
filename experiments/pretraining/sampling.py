"""Step → batch: which views are shown together is decided by the rotation between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from experiments.data.geometry import unproject
from experiments.pretraining.scenes import LoadedScene
from experiments.training.batch import TrainingBatch
from subspace.errors import InputError


def choose_views(
    turns: Float[np.ndarray, "v v"], count: int, largest: float, rng: np.random.Generator
) -> Int[np.ndarray, " count"]:
    """A random reference view, then others in random order that are turned from it by at most ``largest`` degrees.

    Where fewer than ``count`` − 1 are, the nearest ones.
    """
    reference = rng.integers(len(turns))
    order = np.argsort(turns[reference], kind="stable")
    order = order[order != reference]
    eligible = max(count - 1, int(np.sum(turns[reference, order] <= largest)))
    return np.array([reference, *rng.permutation(order[:eligible])[: count - 1]])


@dataclass(frozen=True)
class Augmentation:
    """Gain and gamma of each view as a whole and of its colours, and mirrored scenes."""

    gain: float = 0.15
    """Standard deviation of the logarithm of a view's gain."""
    gamma: float = 0.15
    """Standard deviation of the logarithm of a view's gamma."""
    colour: float = 0.08
    """Standard deviation of the logarithm of each channel's own gain."""
    mirror: float = 0.5
    """Probability of a mirrored scene."""

    def tables(self, views: int, rng: np.random.Generator) -> Float[np.ndarray, "views 3 256"]:
        """For each view and channel, the new value in [0, 1] of each of 256 values."""
        gain = np.exp(self.gain * rng.normal(size=(views, 1)) + self.colour * rng.normal(size=(views, 3)))
        gamma = np.exp(self.gamma * rng.normal(size=(views, 1)))
        values = np.linspace(0, 1, 256) ** gamma[..., None]
        return np.clip(gain[..., None] * values, 0, 1).astype(np.float32)


def recoloured(
    images: UInt8[np.ndarray, "s h w 3"], tables: Float[np.ndarray, "s 3 256"]
) -> Float[np.ndarray, "s h w 3"]:
    """Images through their tables."""
    views, channels = np.ogrid[: len(images), :3]
    return tables[views[:, None, None], channels[:, None], images]


def mirrored(scene: LoadedScene) -> LoadedScene:
    """The same scene in a mirror: pictures flipped left to right, world and cameras reflected in x."""
    width = scene.images.shape[2]
    signs = np.array([-1, 1, 1], np.float32)
    intrinsics = scene.intrinsics.copy()
    intrinsics[:, 0, 2] = width - 1 - intrinsics[:, 0, 2]
    intrinsics[:, 0, 1] *= -1
    extrinsics = scene.extrinsics * signs[:, None]
    extrinsics[..., :3] *= signs
    return replace(
        scene,
        images=scene.images[:, :, ::-1],
        depths=scene.depths[:, :, ::-1],
        valid=scene.valid[:, :, ::-1],
        intrinsics=intrinsics,
        extrinsics=extrinsics,
    )


def chosen(scene: LoadedScene, views: Int[np.ndarray, " s"]) -> LoadedScene:
    """Some views of a scene, in this order."""
    arrays = ("images", "depths", "valid", "intrinsics", "extrinsics")
    return replace(scene, **{name: getattr(scene, name)[views] for name in arrays})


def stacked(
    sequences: Sequence[LoadedScene], colours: Sequence[Float[np.ndarray, "s h w 3"]] | None = None
) -> TrainingBatch:
    """B sequences of equally many views as a batch of one model (no leading axis k)."""

    def stack(read: Callable[[LoadedScene], np.ndarray]) -> np.ndarray:
        return np.stack([read(scene) for scene in sequences])

    if colours is None:
        colours = [scene.images.astype(np.float32) / 255 for scene in sequences]
    depths, extrinsics, intrinsics = (
        stack(lambda s, n=n: getattr(s, n)) for n in ("depths", "extrinsics", "intrinsics")
    )
    arrays: dict[str, Any] = {  # NumPy, where TrainingBatch says Array
        "images": np.stack(colours),
        "depths": depths,
        "point_masks": stack(lambda scene: scene.valid),
        "extrinsics": extrinsics,
        "intrinsics": intrinsics,
        "world_points": unproject(depths, extrinsics, intrinsics).astype(np.float32),
    }
    return TrainingBatch(**arrays)


@dataclass(frozen=True)
class StageSampler:
    """Batches of one stage: a pure function of ``seed`` and the step.

    Raises:
        InputError: numbers of views that do not divide ``images``, or a scene with fewer.
    """

    scenes: Sequence[LoadedScene]
    """Scenes to draw from, evenly."""
    images: int
    """Pictures of a step: ``images`` // views scenes are shown."""
    views: tuple[int, ...]
    """Numbers of views that a sequence may have, of which every step draws one."""
    turns: tuple[float, float]
    """Largest rotation between a sequence's first view and another in degrees: at first, and after ``widening`` steps."""
    widening: int
    """Steps over which the largest rotation grows."""
    seed: int
    """Seed of all draws."""
    augmentation: Augmentation | None = None
    """Changes of the pictures; None for none."""

    def __post_init__(self) -> None:
        if not self.views or any(count < 2 or self.images % count for count in self.views):
            raise InputError(f"views {self.views} must be at least 2 and divide {self.images} images")
        for scene in self.scenes:
            if scene.num_views < max(self.views):
                raise InputError(f"{scene.name}: has {scene.num_views} views, {max(self.views)} are needed")

    def __call__(self, step: int) -> TrainingBatch:
        rng = np.random.default_rng([self.seed, step])
        views = int(rng.choice(self.views))
        count = self.images // views
        largest = self.largest_turn(step)
        sequences, colours = [], []
        for place in rng.choice(len(self.scenes), count, replace=len(self.scenes) < count):
            scene = self.scenes[place]
            scene = chosen(scene, choose_views(scene.turns, views, largest, rng))
            if self.augmentation is not None:
                if rng.uniform() < self.augmentation.mirror:
                    scene = mirrored(scene)
                colours.append(recoloured(scene.images, self.augmentation.tables(views, rng)))
            sequences.append(scene)
        batch = stacked(sequences, colours or None)
        return TrainingBatch(**{name: value[None] for name, value in vars(batch).items() if value is not None})

    def largest_turn(self, step: int) -> float:
        """Degrees."""
        first, last = self.turns
        return first + (last - first) * min(1.0, step / max(self.widening, 1))
