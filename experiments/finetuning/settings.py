"""What a fine-tuning is asked to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.cluster.settings import Ray
from experiments.finetuning.data import TuningData
from experiments.finetuning.method import Method
from experiments.finetuning.methods import METHODS
from experiments.models import Base
from experiments.presets import SMALL_MODEL, PresetName, preset_of
from experiments.storage.arguments import StrPath, check_choice, convert_fields, paths_of
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT, identity
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings
from experiments.training.sampling import sampling_version, view_counts
from experiments.training.step_plan import StepPlan
from experiments.training.trackers import TrackerName
from subspace.errors import InputError
from vggt_jax.config import DType

RECIPE = 1
"""Version of how a fine-tuning is done. It becomes another one when equal settings would give other results."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One fine-tuning: a method on a base model, with data and a schedule.

    Raises InputError for settings that contradict each other.
    """

    method: Method
    """What is trained, with the method's own settings."""
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
    log: tuple[TrackerName, ...] = field(default=(), metadata=NO_EFFECT)
    """Where metrics go besides ``metrics.jsonl``: TensorBoard's event files, Weights & Biases."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder of finished and interrupted work, shared by all commands."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the results; by default below the store, named by everything that they depend on."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""
    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster of which one node does it, with all its accelerators; None for this machine."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.data:
            raise InputError("data: name at least one data set, a folder with a manifest.json", argument="data")
        if self.held_out < 0:
            raise InputError(f"held_out must be at least 0, got {self.held_out}", argument="held_out")

    @classmethod
    def of(
        cls,
        preset: PresetName,
        method: Method | str,
        *,
        data: StrPath | Iterable[StrPath],
        weights: str | None = None,
        steps: int | None = None,
        peak_rate: float | None = None,
        **changes: Any,
    ) -> Settings:
        """Settings of a preset, with changes::

            Settings.of("nano", LoRA(rank=4), data=["runs/data/glass/dataset_00"], steps=50)

        Args:
            preset: whose schedule, number type and base model are taken.
            method: what is trained, or the name of a method with the preset's sizes.
            data: folders of data sets, or a single one.
            weights: the model that is fine-tuned; by default the preset's.
            steps: training steps; by default the preset's.
            peak_rate: learning rate after the warm-up; by default the preset's.
            changes: any other fields.

        Raises InputError for a preset or method that there is not, and settings that contradict each other.
        """
        sizes = preset_of(preset)
        training = sizes.training
        optimizer = OptimizerSettings(
            training.steps if steps is None else steps, training.peak_rate if peak_rate is None else peak_rate
        )
        found: dict[str, Any] = {
            "optimizer": optimizer,
            **{
                name: getattr(training, name)
                for name in (
                    "images", "fewest_views", "most_views", "held_out", "held_out_views", "dtype", "head_dtype", "remat",
                    "cache_tokens",
                )
            },
            **changes,
        }  # fmt: skip
        if isinstance(method, str):
            check_choice(method, METHODS, "method")
            method = METHODS[method].of(sizes)
        return cls(
            method=method,
            data=paths_of(data, "data"),
            weights=sizes.weights if weights is None else weights,
            **found,
        )


def known(settings: Settings, data: TuningData) -> dict[str, Any]:
    """What :func:`depends_on` says without the model."""
    counts = view_counts(settings.images, fewest=settings.fewest_views, most=settings.most_views)
    later = {"sampling": sampling_version(counts), "of_method": settings.method.version}
    return {
        "recipe": RECIPE,
        **{name: version for name, version in later.items() if version > 1},
        "method": settings.method.name,
        "data": list(data.sha256.values()),
        **({"validation": list(data.validation_sha256.values())} if data.validation_sha256 else {}),
        "settings": identity(settings),
    }


def depends_on(settings: Settings, base: Base, data: TuningData) -> dict[str, Any]:
    """Everything that the results depend on, as JSON can hold it: settings, and what the named files hold.

    Raises what :meth:`experiments.finetuning.method.Method.inputs` raises.
    """
    return {
        **known(settings, data),
        "base": {
            "name": base.identity.name,
            "fingerprint": base.identity.fingerprint,
            "weights": base.weights,
        },
        "inputs": settings.method.inputs(base),
    }
