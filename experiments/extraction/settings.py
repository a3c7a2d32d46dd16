"""What is asked of an extraction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from experiments.cluster.settings import Ray
from experiments.mining.dimensions import check_dim
from experiments.mining.origin import Init, Targets, Updates
from experiments.presets import PRESETS, PresetName, Training, preset_of
from experiments.scenes.schema import Attribute, Setting
from experiments.storage.arguments import check_choice, convert_fields
from experiments.storage.files import check_named_once
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT
from experiments.training.step_plan import StepPlan
from experiments.training.trackers import TrackerName, check_installed
from subspace.errors import InputError

ATTRIBUTES: tuple[Attribute, ...] = ("texture", "geometry", "camera", "lighting")
"""The paper's four."""
GRADIENT_BATCHES = 100
"""Batches of a mean gradient where nothing else is said, or fewer if adapters are trained with fewer."""
TrainedUpdates = Literal["lora", "full", "gradient"]
"""What ``Settings.updates`` can be."""
_TRAINING = frozenset(each.name for each in fields(Training))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One attribute's subspace: its data, its adapters and how they are mined; :meth:`of` fills in a preset's numbers.

    Raises InputError for numbers that contradict each other, and what is no path or no choice.
    """

    attribute: Attribute = "geometry"
    """The attribute that varies within each data set."""
    setting: Setting = "object_centric"
    """The kind of scene and of camera path."""
    preset: PresetName = field(default="nano", metadata=NO_EFFECT)
    """Name of the preset that numbers come from; only the folder's name tells of it."""
    weights: str | None = field(default=None, metadata=NO_EFFECT)
    """Weights of the base model, which results know by its fingerprint; None with ``adapters`` whose base is not needed."""
    k: int
    """Number of data sets, and of adapters."""
    scenes: int
    """Number of scenes in each data set, of which the last are held out."""
    views: int
    """Number of views of each scene."""
    resolution: int
    """Width and height of the pictures in pixels."""
    samples: int
    """Light paths per pixel of the renderer."""
    training: Training
    """Size of the adapters, and length of their training."""
    dim: int
    """d' of the shared subspace, at most k·r."""
    exponent: float = 1.0
    """Exponent of Eq. 1 in (0, 2]: 1 is robust to outliers, 2 is the plain mean."""
    init: Init = "independent"
    """How the adapters' input factors are drawn; one draw for all by itself makes them share one side."""
    targets: Targets = "true"
    """What the adapters are trained towards; "shuffled" makes a control."""
    seed: int = 0
    """Seed of data, factors and batches."""
    glass: bool = field(default=True, metadata=NO_EFFECT_BY_DEFAULT)
    """Let some objects of the data be transparent."""
    camera_weight: float = field(default=5.0, metadata=NO_EFFECT_BY_DEFAULT)
    """Weight of the camera loss beside depth; 0 for depth alone."""
    input_rate: float = field(default=1.0, metadata=NO_EFFECT_BY_DEFAULT)
    """Learning rate of the input factors B as a multiple of the others': they leave their random draw sooner."""
    updates: TrainedUpdates = field(default="lora", metadata=NO_EFFECT_BY_DEFAULT)
    """What is mined: trained LoRAs, what full fine-tuning changed in the same matrices, or a step along the mean gradient of
    the base model over ``training.steps`` batches, for which nothing is trained. Of the last two the best approximations of
    rank ``training.rank`` are kept, of matrices that have no room for more all there is."""
    outputs: Path | None = field(default=None, metadata=NO_EFFECT)  # its content counts, see Recipe
    """Folder of a first extraction whose mined outputs are given to the adapters, which train their inputs from zero: the
    second of two passes, in which nothing is drawn. None for LoRAs."""
    snapshots: bool = field(default=False, metadata=NO_EFFECT_BY_DEFAULT)
    """Keep the adapters as they are at each of ten steps in the course of training, for curves over steps."""
    adapters: tuple[Path, ...] = ()
    """Finished adapters, files or PEFT's folders, that are mined in place of new ones."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder of data sets, adapters and results that commands share."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the results; by default below the store, named by everything that they depend on."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""
    workers: int | None = field(default=None, metadata=NO_EFFECT)
    """Number of Blender processes; by default one for each core."""
    blender: str | None = field(default=None, metadata=NO_EFFECT)
    """An installed Blender or a Python with bpy; see :func:`experiments.rendering.blender_command.worker_command`."""
    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster whose nodes render and train, of which ``workers``, ``blender`` and ``plan`` speak then; None for this
    machine."""
    plan: StepPlan = field(default_factory=StepPlan, metadata=NO_EFFECT)
    """How the adapters' steps are laid out over memory, devices and time."""
    log: tuple[TrackerName, ...] = field(default=(), metadata=NO_EFFECT)
    """Where metrics go besides ``metrics.jsonl``: TensorBoard's event files, Weights & Biases."""

    def __post_init__(self) -> None:
        convert_fields(self)
        check_installed(self.log)
        if not 0 < self.exponent <= 2:
            raise InputError(f"exponent must lie in (0, 2], got {self.exponent:g}", argument="exponent")
        if self.adapters:
            if len(self.adapters) < 2:
                raise InputError("at least two adapters are needed to find what they share, got 1", argument="adapters")
            check_named_once(self.adapters, "adapters")
            return  # k and r are the adapters' own
        if self.k < 2:
            raise InputError(f"k must be at least 2, got {self.k}", argument="k")
        if not self.camera_weight >= 0:
            raise InputError(f"camera_weight must be at least 0, got {self.camera_weight}", argument="camera_weight")
        if not self.input_rate > 0:
            raise InputError(f"input_rate must be positive, got {self.input_rate}", argument="input_rate")
        self._check_updates()
        held_out = self.training.held_out
        if not 0 < held_out:
            raise InputError(f"held_out must be at least 1, got {held_out}", argument="held_out")
        if self.scenes < 2 * held_out:
            raise InputError(
                f"of each data set {held_out} scenes are held out and at least as many train: scenes must be at least "
                f"{2 * held_out}, got {self.scenes}",
                argument="scenes",
            )
        check_dim(self.dim, self.k, self.training.rank)

    def _check_updates(self) -> None:
        drawn = {"init": self.init != "independent", "input_rate": self.input_rate != 1}
        if self.updates == "lora":
            for name in (name for name, given in drawn.items() if given and self.outputs is not None):
                raise InputError(
                    f"{name} is about LoRAs, and a second pass, with outputs, draws nothing and trains inputs alone",
                    argument=name,
                )
            return
        drawn["outputs"] = self.outputs is not None
        for name in (name for name, given in drawn.items() if given):
            raise InputError(f"{name} is about LoRAs, and updates={self.updates} trains none", argument=name)
        if self.updates == "gradient" and self.snapshots:
            raise InputError("snapshots: a mean gradient has no course of training", argument="snapshots")

    @property
    def made(self) -> Updates:
        """What makes the updates that are mined."""
        return self.updates if self.outputs is None else "second_pass"

    @classmethod
    def of(cls, preset: PresetName = "nano", **changes: Any) -> Self:
        """The numbers of a preset with some changes: ``Settings.of("nano", attribute="texture", rank=4, steps=20)``.

        Args:
            preset: a name in :data:`experiments.presets.PRESETS`.
            changes: fields of these settings or of :class:`experiments.presets.Training`; None stands for the preset's own
                value. A ``rank`` changes ``alpha`` with it, unless that is given too.

        Raises InputError for a preset or another value that there is not, and numbers that contradict each other.
        """
        plain = preset_of(preset)
        given = {name: value for name, value in changes.items() if value is not None}
        trained = {name: given.pop(name) for name in _TRAINING & given.keys()}
        if given.get("updates") == "gradient":
            trained.setdefault("steps", min(GRADIENT_BATCHES, plain.training.steps))
        if "rank" in trained:
            trained.setdefault("alpha", float(trained["rank"]))
        setting: Setting = given.get("setting", "object_centric")
        check_choice(setting, plain.rendering.datasets, "setting")
        usual: dict[str, Any] = {
            "weights": None if given.get("adapters") else plain.weights,
            "k": plain.rendering.datasets[setting],
            "scenes": plain.rendering.scenes,
            "views": plain.rendering.views,
            "resolution": plain.rendering.resolution,
            "samples": plain.rendering.samples,
            "glass": plain.rendering.glass,
            "training": replace(plain.training, **trained),
            "dim": plain.extraction.dim,
        }
        return cls(**{**usual, **given, "preset": preset})

    @property
    def label(self) -> str:
        """A few words that name the folder of results, which others may share; controls are named as such."""
        if self.adapters:
            return "imported"
        parts = [self.attribute, self.setting, self.preset]
        parts += [f"r{self.training.rank}"] * (self.training.rank != PRESETS[self.preset].training.rank)
        parts += ["shared_init"] * (self.init == "shared") + ["shuffled_targets"] * (self.targets == "shuffled")
        parts += [self.made] * (self.made != "lora")
        return "_".join(parts)
