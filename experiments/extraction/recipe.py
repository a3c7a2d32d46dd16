"""Everything that adapters depend on besides base model and data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from experiments.extraction.settings import Settings, TrainedUpdates
from experiments.mining.folder import SUBSPACE
from experiments.mining.origin import Init, Targets
from experiments.presets import Training
from experiments.storage.files import sha256
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT
from experiments.training.loop import LoopSettings
from experiments.training.losses import CameraLoss, Objective
from experiments.training.optimizer import OptimizerSettings
from experiments.training.sampling import sampling_version, view_counts
from subspace.errors import InputError

_CHECKPOINTS = 10
"""Number of checkpoints in the course of a run."""


@dataclass(frozen=True)
class Recipe:
    """Everything that adapters depend on besides base model and data."""

    training: Training
    """Size of the adapters, and length of their training."""
    optimizer: OptimizerSettings
    """How losses change the adapters."""
    objective: Objective
    """What the adapters minimise."""
    loop: LoopSettings
    """When training is looked at."""
    init: Init
    """Whether the k input factors are drawn independently, of each other and of those of other attributes, or are all the
    same, for every attribute."""
    targets: Targets
    """Whether adapters are trained towards the truth of the scene in the images; held-out scenes keep it in any case."""
    seed: int
    """Seed of the factors, of the batches and of shuffled targets."""
    version: int
    """Version of the meaning of these fields, :func:`experiments.training.sampling.sampling_version`."""
    snapshots: bool = field(default=False, metadata=NO_EFFECT_BY_DEFAULT)
    """Keep the adapters at every validation."""
    outputs: Path | None = field(default=None, metadata=NO_EFFECT)  # its content counts
    """Folder whose mined outputs are given to the adapters; None for LoRAs."""
    outputs_sha256: str | None = field(default=None, metadata=NO_EFFECT_BY_DEFAULT)
    """Of the subspace in ``outputs``."""
    updates: TrainedUpdates = field(default="lora", metadata=NO_EFFECT_BY_DEFAULT)
    """What is trained: LoRAs, all entries of the matrices, or nothing but one step along the mean gradient."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The paper's recipe at the size of the settings."""
        training = settings.training
        every = max(1, training.steps // _CHECKPOINTS)
        looked_at = training.steps if settings.updates == "gradient" else every
        return cls(
            training=training,
            optimizer=OptimizerSettings(
                training.steps,
                training.peak_rate,
                input_rate=settings.input_rate,
                rule="mean_gradient" if settings.updates == "gradient" else "adamw",
            ),
            objective=Objective(CameraLoss(settings.camera_weight) if settings.camera_weight else None),
            loop=LoopSettings(
                training.steps,
                checkpoint_every=every,
                validate_every=looked_at,
                log=settings.log,
                **({"skips_in_a_row": 0} if settings.updates == "gradient" else {}),  # the mean is that of all steps
            ),
            init=settings.init,
            targets=settings.targets,
            seed=settings.seed,
            version=sampling_version(_view_counts(training)),
            snapshots=settings.snapshots,
            outputs=settings.outputs,
            outputs_sha256=None if settings.outputs is None else _sha256_of(settings.outputs),
            updates=settings.updates,
        )

    @property
    def view_counts(self) -> tuple[int, ...]:
        """Numbers of views that a sequence may have."""
        return _view_counts(self.training)


def _view_counts(training: Training) -> tuple[int, ...]:
    return view_counts(training.images, fewest=training.fewest_views, most=training.most_views)


def _sha256_of(folder: Path) -> str:
    if not (folder / SUBSPACE).is_file():
        raise InputError(f"outputs: {folder} has no {SUBSPACE} of experiments.extract", argument="outputs")
    return sha256(folder / SUBSPACE)
