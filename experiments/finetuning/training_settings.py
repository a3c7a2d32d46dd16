"""What every method of fine-tuning is trained with, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.presets import SMALL_MODEL
from experiments.storage.arguments import convert_fields
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from vggt_jax.config import DType


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Base model, data and schedule.

    Raises InputError for settings that contradict each other.
    """

    data: tuple[Path, ...] = field(metadata=NO_EFFECT)  # their content counts, see depends_on
    """Folders of finished data sets to train on."""
    validation: tuple[Path, ...] = field(default=(), metadata=NO_EFFECT)  # likewise
    """Folders of data sets to validate on, in place of the held-out scenes of ``data``."""
    weights: str = field(default=SMALL_MODEL, metadata=NO_EFFECT)  # likewise
    """The model that is fine-tuned, in a form that :func:`weights_convert.load_vggt` takes."""
    optimizer: OptimizerSettings
    """Steps, learning rate, clipping and decay."""
    objective: Objective = field(default_factory=Objective)
    """Losses that training minimises."""
    images: int
    """Number of pictures in a step."""
    fewest_views: int
    """Smallest number of views in the sequences that the pictures of a step are arranged in."""
    most_views: int
    """Largest number of views in the sequences that the pictures of a step are arranged in."""
    held_out: int
    """Number of each data set's last scenes, which are validated on and not trained on."""
    held_out_views: int
    """Number of views of a held-out scene, shown as one sequence."""
    dtype: DType = "float32"
    """Type of the matrix products in encoder and aggregator."""
    head_dtype: DType = field(default="float32", metadata=NO_EFFECT_BY_DEFAULT)
    """Type of the products and convolutions in the heads."""
    seed: int = 0
    """Of what a method draws, and of the order of scenes and views."""
    remat: bool = field(default=False, metadata=NO_EFFECT)
    """Recompute the blocks in the backward pass, which saves memory."""
    cache_tokens: bool = field(default=True, metadata=NO_EFFECT)
    """Keep the frozen encoder's tokens of every picture in the store."""
    plan: StepPlan = field(default_factory=StepPlan, metadata=NO_EFFECT)
    """How a step is laid out over memory and devices."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.data:
            raise InputError("data: name at least one data set, a folder with a manifest.json", argument="data")
        if self.held_out < 0:
            raise InputError(f"held_out must be at least 0, got {self.held_out}", argument="held_out")
