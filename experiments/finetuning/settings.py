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
from experiments.finetuning.training_settings import TrainingSettings
from experiments.models import Base
from experiments.presets import PresetName, preset_of
from experiments.storage.arguments import StrPath, check_choice, paths_of
from experiments.storage.identity import NO_EFFECT, identity
from experiments.training.optimizer import OptimizerSettings
from experiments.training.sampling import sampling_version, view_counts
from experiments.training.trackers import TrackerName

RECIPE = 1
"""Version of how a fine-tuning is done. It becomes another one when equal settings would give other results."""


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """One fine-tuning: a method on a base model, with data and a schedule.

    Raises InputError for settings that contradict each other.
    """

    method: Method
    """What is trained, with the method's own settings."""
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
