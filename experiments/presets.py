"""How much is rendered, trained and compared: in minutes on a CPU (``nano``), or as in the paper (``vggt_1b``).

A preset holds every number that is no choice of an experiment. No code depends on which preset it is, and each pipeline takes
its part from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from experiments.storage.arguments import check_choice, convert_fields
from experiments.storage.identity import NO_EFFECT_BY_DEFAULT

if TYPE_CHECKING:
    from experiments.data.manifest import Split, Task
    from experiments.scenes.schema import Setting

PresetName = Literal["nano", "vggt_1b"]

SMALL_MODEL = "nano_2"
"""The model that commands take where no other is named: the one of those that are shipped which sees turns around objects."""


@dataclass(frozen=True)
class Rendering:
    """Data sets in which one attribute varies."""

    resolution: int
    """Width and height of the pictures in pixels, also of those that a model is trained on."""
    views: int
    """Number of views of each scene."""
    samples: int
    """Light paths per pixel of the renderer."""
    scenes: int
    """Number of scenes in each data set: those to train on, and then those that are held out."""
    datasets: Mapping[Setting, int]
    """Number of data sets by setting: k, as each trains one adapter."""
    glass: bool
    """Whether some objects are transparent. The paper mines without (Section 5.3); nano's records were made with glass."""


@dataclass(frozen=True)
class Training:
    """Adapters of attributes and fine-tuning for tasks."""

    held_out: int
    """Number of scenes of each data set that are validated on, its last ones."""
    held_out_views: int
    """Number of views of a held-out scene, shown as one sequence."""
    rank: int
    """r of the adapters."""
    alpha: float
    """Scale of the adapters: an update is multiplied by alpha / rank."""
    steps: int
    """Number of training steps."""
    images: int
    """Number of pictures in a step of one adapter."""
    fewest_views: int
    """Smallest number of views in the sequences that the pictures of a step are arranged in."""
    most_views: int
    """Largest number of views in the sequences that the pictures of a step are arranged in."""
    peak_rate: float
    """Learning rate after the warm-up."""
    dtype: Literal["float32", "bfloat16"]
    """Type of the matrix products in encoder and aggregator."""
    remat: bool
    """Recompute the blocks in the backward pass, which saves memory."""
    cache_tokens: bool
    """Keep the frozen encoder's tokens of every picture."""
    head_dtype: Literal["float32", "bfloat16"] = field(default="float32", metadata=NO_EFFECT_BY_DEFAULT)
    """Type of the products and convolutions in the heads."""

    def __post_init__(self) -> None:
        """Raises InputError for a type that is none of those."""
        convert_fields(self)


@dataclass(frozen=True)
class Extraction:
    """The subspace of one attribute."""

    dim: int
    """d' of the shared subspace."""


@dataclass(frozen=True)
class Tasks:
    """Stand-ins for the data of the downstream tasks, rendered at the resolution of :class:`Rendering`."""

    train_samples: int
    """Light paths per pixel of the renderer for scenes to train on."""
    test_samples: int
    """Light paths per pixel of the renderer for scenes to evaluate on."""
    scenes: Mapping[tuple[Task, Split], int]
    """Number of scenes by task and split; splits that are missing do not exist.

    ``train`` has scenes to validate on: nano 16, vggt_1b 8 beside as many as the paper's.
    """
    views: Mapping[tuple[Task, Split], int]
    """Number of views of each scene, by task and split."""
    turn: float
    """Degrees of the circle around bodies and tables that the views are spread over."""
    head_turn: float
    """Degrees of the circle before heads that the views are spread over."""


@dataclass(frozen=True)
class Scale:
    """The paper's tables at the preset's size."""

    divisor: int
    """What the paper's ranks and dimensions are divided by: the widths' ratio, which keeps shares of parameters."""
    mined_rank: int
    """r of the adapters that the main tables' subspaces are mined from, in the paper's numbers."""
    mined_dim: int
    """d' of the subspaces that are mined, in the paper's numbers: the largest d of a table."""
    rates: tuple[float, ...]
    """Peak learning rates, rising, among which each method's is chosen."""
    held_out: int
    """Number of scenes that validate a fine-tuning, the last of the training data."""
    minutes: float
    """Duration of one fine-tuning and its evaluation, in minutes."""
    adapter_minutes: float
    """Duration of one of the k adapters of an extraction, with its data set, in minutes; mining takes seconds."""
    datasets: Mapping[Setting, int]
    """Number of adapters that are mined together by setting, as in :class:`Rendering`."""
    glass: bool
    """Whether some objects of what they learn from are transparent, as in :class:`Rendering`."""
    machine: str
    """The machine on which the durations were taken."""


@dataclass(frozen=True)
class Preset:
    """Everything that is not a choice of the experiment, part by part."""

    name: PresetName
    """The name that commands know the preset by."""
    weights: str
    """Weights of the base model where no others are named."""
    rendering: Rendering
    """Size of data sets in which one attribute varies."""
    training: Training
    """Size of adapters, and length of their training."""
    extraction: Extraction
    """Size of the subspaces of attributes."""
    tasks: Tasks
    """Size of the stand-ins for the downstream tasks' data."""
    scale: Scale
    """What the paper's numbers become in the tables."""


_NANO_DATASETS: Mapping[Setting, int] = {"micro_baseline": 5, "object_centric": 5, "wide_baseline": 5}
_PAPERS_DATASETS: Mapping[Setting, int] = {"micro_baseline": 5, "object_centric": 10, "wide_baseline": 10}

_NANO = Preset(
    name="nano",
    weights=SMALL_MODEL,
    rendering=Rendering(
        resolution=96,
        views=8,
        samples=4,
        scenes=16,
        datasets=_NANO_DATASETS,
        glass=True,
    ),
    training=Training(
        held_out=4,
        held_out_views=4,
        rank=8,
        alpha=8.0,
        steps=100,
        images=8,
        fewest_views=4,
        most_views=4,
        peak_rate=1e-3,
        dtype="float32",
        remat=False,
        cache_tokens=True,
    ),
    extraction=Extraction(dim=8),
    tasks=Tasks(
        train_samples=4,
        test_samples=16,
        scenes={
            ("faces", "train"): 144, ("faces", "test"): 24,
            ("humans", "train"): 144, ("humans", "test"): 16, ("humans", "cross_domain"): 16,
            ("glass", "train"): 48, ("glass", "test"): 19, ("heads", "train"): 240,
        },
        views={
            ("faces", "train"): 8, ("faces", "test"): 7,
            ("humans", "train"): 16, ("humans", "test"): 8, ("humans", "cross_domain"): 8,
            ("glass", "train"): 8, ("glass", "test"): 8, ("heads", "train"): 12,
        },
        turn=90.0,
        head_turn=120.0,
    ),
    scale=Scale(
        divisor=8,  # it is 128 wide, VGGT-1B 1024
        mined_rank=64,  # 8 here, that of training
        mined_dim=64,
        rates=(4e-6, 2e-5, 1e-4, 5e-4, 2.5e-3, 1.25e-2, 6.25e-2),
        held_out=16,
        minutes=1.5,  # of runs that go two at a time: 0.8 on faces, 1.3 on bodies, 2.9 on 128 scenes of glass
        adapter_minutes=0.6,
        datasets=_NANO_DATASETS,
        glass=True,
        machine="two CPU cores",
    ),
)  # fmt: skip

_VGGT_1B = Preset(
    name="vggt_1b",
    weights="hf:facebook/VGGT-1B",
    rendering=Rendering(
        resolution=518,
        views=100,
        samples=4,
        scenes=208,
        datasets=_PAPERS_DATASETS,
        glass=False,
    ),
    training=Training(
        held_out=8,
        held_out_views=8,
        rank=16,
        alpha=16.0,
        steps=24_000,
        images=32,
        fewest_views=4,
        most_views=16,
        peak_rate=1e-5,
        dtype="bfloat16",
        remat=True,
        cache_tokens=False,
    ),
    extraction=Extraction(dim=16),
    tasks=Tasks(
        train_samples=4,
        test_samples=16,
        scenes={
            ("faces", "train"): 208, ("faces", "test"): 50,
            ("humans", "train"): 2353, ("humans", "test"): 100, ("humans", "cross_domain"): 100,
            ("glass", "train"): 40, ("glass", "test"): 19, ("heads", "train"): 240,
        },
        views={
            ("faces", "train"): 100, ("faces", "test"): 42,
            ("humans", "train"): 96, ("humans", "test"): 96, ("humans", "cross_domain"): 96,
            ("glass", "train"): 100, ("glass", "test"): 100, ("heads", "train"): 12,
        },
        turn=360.0,
        head_turn=120.0,
    ),
    scale=Scale(
        divisor=1,
        mined_rank=16,
        mined_dim=64,
        rates=(1e-5,),
        held_out=8,
        minutes=20 * 60.0,  # supplement 1
        adapter_minutes=20 * 60.0,  # likewise
        datasets=_PAPERS_DATASETS,
        glass=False,
        machine="one H200",
    ),
)  # fmt: skip

PRESETS: Mapping[PresetName, Preset] = {preset.name: preset for preset in (_NANO, _VGGT_1B)}


def preset_of(name: PresetName) -> Preset:
    """The preset of a name; raises InputError if there is none."""
    check_choice(name, PRESETS, "preset")
    return PRESETS[name]
