"""What the shipped base is trained on and how: stages, each with its own data order, losses and learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from experiments.pretraining.objective import PretrainingObjective
from experiments.pretraining.sampling import Augmentation
from experiments.pretraining.settings import Ingredient, RecipeName
from experiments.scenes.schema import Setting
from experiments.storage.identity import NO_EFFECT
from experiments.training.losses import CameraLoss, Objective, RegressionLoss
from experiments.training.optimizer import OptimizerSettings
from subspace.errors import InputError
from vggt_jax import VGGTConfig

TRUNK = ("aggregator",)
HEADS = ("camera_head", "depth_head")


_LATER: Mapping[str, Any] = {"motion": 0.0, "setting": None, "start": None, "validate_every": 250}
"""Fields that came later → what was done before: runs of then go on."""


@dataclass(frozen=True)
class Stage:
    """A part of the training."""

    name: str
    """Name of the stage, for its folder."""
    steps: int
    """Steps of the stage."""
    objective: PretrainingObjective
    """What the stage minimises."""
    parts: tuple[str, ...] = (*TRUNK, *HEADS)
    """Parts of the model that are trained; the others stay as they are."""
    setting: Setting | None = None
    """Setting of the data sets that the stage draws scenes from; None for all data sets."""
    images: int = 32
    """Pictures that every step shows."""
    views: tuple[int, ...] = (2,)
    """Numbers of views that a sequence may have, of which every step draws one."""
    turns: tuple[float, float] = (45.0, 45.0)
    """Largest rotation between a sequence's first view and the others in degrees: at first, and after ``widening``."""
    widening: float = 0.6
    """Share of the steps over which the largest rotation grows."""
    peak_rate: float = 1e-3
    """Learning rate after the warm-up."""
    end_rate: float = 1e-5
    """Learning rate at the first step and after the last."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    weight_decay: float = 0.05
    """Weight decay of AdamW."""

    @property
    def optimizer(self) -> OptimizerSettings:
        return OptimizerSettings(self.steps, self.peak_rate, self.end_rate, self.warmup, self.clip, self.weight_decay)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run besides its data."""

    config: VGGTConfig
    """Sizes of the model."""
    stages: tuple[Stage, ...]
    """Stages, one after the other."""
    held_out: float = 0.05
    """Share of each data set's scenes that is not trained on."""
    pairs_per_scene: int = 2
    """Pairs of views of each held-out scene that are evaluated."""
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    """Changes of the training pictures; None for none."""
    seed: int = 0
    """Seed of parameters, batches and evaluated pairs."""
    start: str | None = field(default=None, metadata=NO_EFFECT)  # what it holds counts, see the pipeline
    """The model whose weights training begins with, as :func:`weights_convert.load_vggt` takes it; None for drawn ones."""
    validate_every: int = field(default=250, metadata=NO_EFFECT)
    """Steps between two looks at the held-out pairs."""

    def scaled(self, length: float) -> Recipe:
        """With ``length`` times as many steps in every stage, at least one."""
        if not length > 0:
            raise InputError(f"length must be positive, got {length}")
        return replace(self, stages=tuple(replace(s, steps=max(1, round(length * s.steps))) for s in self.stages))

    def without(self, ingredient: Ingredient) -> Recipe:
        """For ablations: the same steps without one ingredient."""
        if ingredient == "augmentation":
            found = replace(self, augmentation=None)
        elif ingredient == "start":
            found = replace(self, start=None)
        else:
            found = replace(self, stages=tuple(_without(stage, ingredient, self.stages[-1]) for stage in self.stages))
        if found == self:
            raise InputError(f"without={ingredient}: the recipe does not have it", argument="without")
        return found

    def check_settings(self, settings: Collection[Setting | None]) -> None:
        """Raises InputError if data sets of these settings leave a stage without data."""
        for stage in self.stages:
            if stage.setting is not None and stage.setting not in settings:
                raise InputError(
                    f"data: the stage {stage.name} needs a data set of the setting {stage.setting}", argument="data"
                )

    @property
    def reads_motion(self) -> bool:
        """Whether a stage needs what :attr:`PretrainingObjective.motion` reads."""
        return any(stage.objective.motion for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries; without what came later where it is at its default."""
        stored = asdict(self, dict_factory=_without_later_defaults)
        return json.loads(json.dumps({**stored, "config": self.config.to_dict()}))


def _without_later_defaults(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name not in _LATER or _LATER[name] != value}


def _without(stage: Stage, ingredient: Ingredient, last: Stage) -> Stage:
    if ingredient == "matching":
        return replace(stage, objective=replace(stage.objective, match=0.0))
    if ingredient == "token_points":
        return replace(stage, objective=replace(stage.objective, token_points=0.0))
    if ingredient == "motion":
        return replace(stage, objective=replace(stage.objective, motion=0.0))
    if ingredient == "widening":
        return replace(stage, turns=(stage.turns[1], stage.turns[1]))
    return replace(stage, objective=last.objective, parts=last.parts)


def nano() -> Recipe:
    """The recipe of the shipped base: about 90 minutes on two cores of a shared server. Losses still fall at its end.

    It has no point head, which would add a third to each step of the last stage: points follow from depth and cameras.
    """
    matching = PretrainingObjective(Objective(CameraLoss(weight=1.0), depth=None))
    jointly = PretrainingObjective(Objective(CameraLoss(), RegressionLoss()), match=0.5, token_points=0.5)
    return Recipe(
        replace(VGGTConfig.nano(), heads=("camera", "depth")),
        (
            Stage("matching", 1150, matching, (*TRUNK, "camera_head"), turns=(15.0, 45.0)),
            Stage("jointly", 780, jointly, views=(2, 4), peak_rate=6e-4),
        ),
    )


def orbits() -> Recipe:
    """Going on from a model of :func:`nano`, until it sees turns about things: as many pictures again.

    Data are objects and heads with cameras all around them, and some rooms. Matches come first, with pairs from small turns to
    large ones; camera tokens learn what the matches say of the motion, which the camera head then has before it. Turns
    about heads are seen after 300 steps, those about objects are not after 950 on all data: ``far`` has nothing but objects.
    600 more steps of matching, up to 120°, gain at a quarter of a circle (37° for 55°) and lose at small turns (14° for 9°).
    """
    matching = PretrainingObjective(Objective(CameraLoss(weight=1.0), depth=None), motion=1.0)
    jointly = PretrainingObjective(Objective(CameraLoss(), RegressionLoss()), match=0.5, token_points=0.5, motion=0.5)
    matched = (*TRUNK, "camera_head")
    return Recipe(
        replace(VGGTConfig.nano(), heads=("camera", "depth")),
        (
            Stage("near", 500, matching, matched, turns=(15.0, 30.0), peak_rate=6e-4),
            Stage(
                "far",
                900,
                matching,
                matched,
                setting="object_centric",
                turns=(30.0, 60.0),
                widening=0.9,
                peak_rate=6e-4,
            ),
            Stage("jointly", 600, jointly, views=(2, 4), turns=(60.0, 60.0), peak_rate=6e-4),
        ),
        start="nano",
        validate_every=100,
    )


RECIPES: Mapping[RecipeName, Callable[[], Recipe]] = {"nano": nano, "orbits": orbits}
"""Recipes by name."""
