"""Sizes and run-time choices of a VGGT, with its presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import read_json

Head = Literal["camera", "depth", "point", "track"]
DType = Literal["float32", "bfloat16"]

_OFFICIAL_WIDTH, _OFFICIAL_HEIGHTS = 518, (168, 518)
"""Pixels of the pictures that VGGT-1B was trained on (VGGT, Sec. 3.4)."""


@dataclass(frozen=True)
class EncoderConfig:
    """The image backbone, DINOv2 with registers; its width is the model's."""

    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_registers: int = 4
    layer_scale: float = 1.0
    """Initial value of the two learned scales of every block."""


@dataclass(frozen=True)
class AggregatorConfig:
    """The alternating-attention trunk: ``depth`` pairs of one frame block and one global block."""

    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_registers: int = 4
    rope_base: float = 100.0
    layer_scale: float = 0.01


@dataclass(frozen=True)
class CameraHeadConfig:
    """The pose head, twice as wide as the model; it refines one encoding of 9 numbers ``iterations`` times."""

    depth: int = 4
    num_heads: int = 16
    mlp_ratio: float = 4.0
    iterations: int = 4
    layer_scale: float = 0.01


@dataclass(frozen=True)
class DenseHeadConfig:
    """A DPT head, which reads the four aggregator layers ``layers`` (ascending)."""

    features: int = 256
    out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    layers: tuple[int, int, int, int] = (4, 11, 17, 23)
    last_features: int = 32
    """Channels of the last full-resolution layer; unused where only features are asked for."""


@dataclass(frozen=True)
class TrackHeadConfig:
    """The point tracker and the DPT head that extracts its features (at half of the image's resolution)."""

    extractor: DenseHeadConfig = field(default_factory=lambda: DenseHeadConfig(features=128))
    iterations: int = 4
    stride: int = 2
    corr_levels: int = 7
    corr_radius: int = 4
    hidden_size: int = 384
    space_depth: int = 6
    time_depth: int = 6
    num_heads: int = 8
    mlp_ratio: float = 4.0
    num_virtual_tracks: int = 64
    max_scale: float = 518.0


@dataclass(frozen=True)
class VGGTConfig:
    """Everything that determines a VGGT.

    The model runs on any image size divisible by ``patch_size``; ``image_size`` only sets the grid of the learned
    position embedding. ``heads`` lists the heads that exist. ``dtype`` is the matrix multiplications' type in encoder
    and aggregator, ``head_dtype`` the heads' (official inference: bfloat16 and float32); parameters, norms, softmax and
    the residual stream stay float32. ``remat`` recomputes every block and every chunk of a dense head in the backward
    pass and keeps only its input and, with ``keep_attention``, what attention gives (2 bytes a channel and token in
    bfloat16), which is costly to make again. Dense heads run on at most ``frames_chunk`` frames at a time.
    ``trained_heights`` are the lowest and the greatest height of the pictures that the model was trained on, which were
    ``image_size`` wide; by default VGGT-1B's 168 to 518 where ``image_size`` is 518, and squares only elsewhere.

    Raises ValueError where sizes contradict each other.
    """

    image_size: int = 518
    patch_size: int = 14
    width: int = 1024
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    camera: CameraHeadConfig = field(default_factory=CameraHeadConfig)
    depth: DenseHeadConfig = field(default_factory=DenseHeadConfig)
    point: DenseHeadConfig = field(default_factory=DenseHeadConfig)
    track: TrackHeadConfig = field(default_factory=TrackHeadConfig)
    heads: tuple[Head, ...] = ("camera", "depth", "point", "track")
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dtype: DType = "float32"
    head_dtype: DType = "float32"
    remat: bool = False
    keep_attention: bool = True
    frames_chunk: int = 8
    trained_heights: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        problems = [
            f"heads has {head!r}; known are {', '.join(get_args(Head))}"
            for head in self.heads
            if head not in get_args(Head)
        ]
        if len(set(self.heads)) != len(self.heads):
            problems.append(f"heads {self.heads} repeats one")
        if wrong := list(_out_of_range(self)):  # what follows divides by sizes
            raise InputError("VGGTConfig: " + "; ".join([*problems, *wrong]))
        if self.image_size % self.patch_size:
            problems.append(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        for name, width, part in (
            ("encoder", self.width, self.encoder),
            ("aggregator", self.width, self.aggregator),
            ("camera", 2 * self.width, self.camera),
        ):
            if width % part.num_heads:
                problems.append(f"{name}.num_heads {part.num_heads} does not divide its width {width}")
        head_dim = self.width // self.aggregator.num_heads
        if head_dim % 4:
            problems.append(f"aggregator: rotary embedding needs a multiple of 4 channels a head, got {head_dim}")
        for name, layers in self._dense_layers().items():
            if len(layers) != 4:
                problems.append(f"{name}: four layers are needed, got {layers}")
            elif sorted(set(layers)) != list(layers) or layers[0] < 0 or layers[-1] >= self.aggregator.depth:
                problems.append(f"{name}: layers {layers} must ascend within 0..{self.aggregator.depth - 1}")
        for name in ("dtype", "head_dtype"):
            if getattr(self, name) not in get_args(DType):
                problems.append(f"{name} {getattr(self, name)!r} is not one of {', '.join(get_args(DType))}")
        if self.trained_heights is not None and not 0 < self.trained_heights[0] <= self.trained_heights[1]:
            problems.append(
                f"trained_heights {self.trained_heights} are not the lowest and the greatest height in pixels"
            )
        if problems:
            raise InputError("VGGTConfig: " + "; ".join(problems))

    @property
    def patch_start(self) -> int:
        """Index of the first patch token: one camera token and the registers come before."""
        return 1 + self.aggregator.num_registers

    def knows(self, height: int, width: int) -> bool:
        """Whether the model was trained on pictures of this shape, at whatever size."""
        known = self.trained_heights
        if known is None:
            known = _OFFICIAL_HEIGHTS if self.image_size == _OFFICIAL_WIDTH else (self.image_size, self.image_size)
        return known[0] * width <= height * self.image_size <= known[1] * width

    @property
    def layers(self) -> tuple[int, ...]:
        """The aggregator layers that some head reads, ascending."""
        read = {self.aggregator.depth - 1} if "camera" in self.heads else set[int]()
        return tuple(sorted(read.union(*self._dense_layers().values())))

    def _dense_layers(self) -> dict[str, tuple[int, ...]]:
        """The layers that each dense head among ``heads`` reads."""
        layers = {"depth": self.depth.layers, "point": self.point.layers, "track": self.track.extractor.layers}
        return {head: layers[head] for head in self.heads if head in layers}

    @classmethod
    def vggt_1b(cls) -> VGGTConfig:
        """The official VGGT-1B: 1,256,537,516 parameters, 518×518 images, patches of 14."""
        return cls()

    @classmethod
    def nano(cls) -> VGGTConfig:
        """A VGGT for CPUs: 4,679,416 parameters, 96×96 images, patches of 8 (144 tokens); no track head."""
        dense = DenseHeadConfig(features=32, out_channels=(32, 48, 64, 96), layers=(1, 2, 3, 4), last_features=16)
        return cls(
            image_size=96,
            patch_size=8,
            width=128,
            encoder=EncoderConfig(depth=3, num_heads=4),
            aggregator=AggregatorConfig(depth=5, num_heads=4),
            camera=CameraHeadConfig(depth=2, num_heads=4, mlp_ratio=2.0),
            depth=dense,
            point=dense,
            track=TrackHeadConfig(
                extractor=dense,
                corr_levels=5,
                corr_radius=3,
                hidden_size=64,
                space_depth=2,
                time_depth=2,
                max_scale=96.0,
            ),
            heads=("camera", "depth", "point"),
        )

    @classmethod
    def from_json(cls, source: str | Path | Mapping[str, Any]) -> VGGTConfig:
        """The configuration in a ``config.json`` (its path or its content), as :meth:`to_dict` writes it or in the form
        that lists the official constructors' arguments.

        Raises InputError for unknown keys, values of other types and contradictory sizes, KeyError for missing ones.
        """
        content = source if isinstance(source, Mapping) else read_json(Path(source))
        if isinstance(content, Mapping) and "embed_dim" in content:
            try:
                content = _from_official(content)
            except (AttributeError, TypeError, IndexError):
                raise InputError("it is not of the form that lists the official constructors' arguments") from None
        _check_known(cls, content)
        try:
            return typed.convert(content, cls)
        except msgspec.ValidationError as error:
            raise error.__cause__ if isinstance(error.__cause__, InputError) else InputError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of numbers, strings, lists and dictionaries, for JSON; :meth:`from_json` reads it."""
        content = asdict(self)
        for name, default in (("trained_heights", None), ("keep_attention", True)):
            if content[name] == default:  # so that what is named by a configuration keeps its name
                del content[name]
        return content


_PARTS: dict[type, dict[str, type]] = {
    VGGTConfig: {
        "encoder": EncoderConfig,
        "aggregator": AggregatorConfig,
        "camera": CameraHeadConfig,
        "depth": DenseHeadConfig,
        "point": DenseHeadConfig,
        "track": TrackHeadConfig,
    },
    TrackHeadConfig: {"extractor": DenseHeadConfig},
}


_MAY_BE_NONE = frozenset({"num_registers", "space_depth", "time_depth", "num_virtual_tracks", "corr_radius"})
"""Numbers that may be 0."""
_LARGEST, _DEEPEST = 1 << 20, 1_000
"""Sizes, and numbers of layers, that no model has: they would take all memory before anything is compared with weights."""


def _out_of_range(part: Any, name: str = "") -> Iterator[str]:
    """Numbers that are too small, too large or not finite, in a configuration or a part of it."""
    for entry in fields(part):
        value, label = getattr(part, entry.name), f"{name}{entry.name}"
        if is_dataclass(value):
            yield from _out_of_range(value, f"{label}.")
            continue
        if entry.name in ("layers", "trained_heights"):
            continue
        most = _DEEPEST if "depth" in entry.name or entry.name in ("iterations", "corr_levels") else _LARGEST
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if isinstance(number, float):
                within = isfinite(number) and (number > 0 or entry.name in ("image_mean", "layer_scale"))
            else:
                within = (0 if entry.name in _MAY_BE_NONE else 1) <= number <= most
            if not within:
                yield f"{label} {value} is out of range"


def _check_known(cls: type, content: Any) -> None:
    if not isinstance(content, Mapping):
        raise InputError(f"{cls.__name__} is {content!r}, no entries by name")
    unknown = set(content) - {entry.name for entry in fields(cls)}
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
    for name, part in _PARTS.get(cls, {}).items():
        if name in content:
            _check_known(part, content[name])


def _from_official(content: Mapping[str, Any]) -> dict[str, Any]:
    encoder, aggregator, camera, track = (content[k] for k in ("dino", "aggregator", "camera_head", "track_head"))
    transformer = track["update_transformer"]
    return dict(
        image_size=content["img_size"],
        patch_size=content["patch_size"],
        width=content["embed_dim"],
        encoder=dict(
            depth=encoder["depth"],
            num_heads=encoder["num_heads"],
            mlp_ratio=encoder["mlp_ratio"],
            num_registers=encoder["num_register_tokens"],
        ),
        aggregator=dict(
            depth=aggregator["depth"],
            num_heads=aggregator["num_heads"],
            mlp_ratio=aggregator["mlp_ratio"],
            num_registers=content["num_register_tokens"],
            rope_base=aggregator["rope_freq"],
        ),
        camera=dict(
            depth=camera["trunk_depth"],
            num_heads=camera["num_heads"],
            mlp_ratio=camera["mlp_ratio"],
            iterations=camera["num_iterations"],
        ),
        depth=_dense_from_official(content["depth_head"]),
        point=_dense_from_official(content["point_head"]),
        track=dict(
            extractor=_dense_from_official(track["feature_extractor"]),
            iterations=track["iters"],
            stride=track["stride"],
            corr_levels=track["corr_levels"],
            corr_radius=track["corr_radius"],
            hidden_size=track["hidden_size"],
            space_depth=transformer["space_depth"],
            time_depth=transformer["time_depth"],
            num_heads=transformer["num_heads"],
            mlp_ratio=transformer["mlp_ratio"],
            num_virtual_tracks=transformer["num_virtual_tracks"],
            max_scale=track["max_scale"],
        ),
        image_mean=content["image_mean"],
        image_std=content["image_std"],
    )


def _dense_from_official(content: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        features=content["features"],
        out_channels=content["out_channels"],
        layers=content["intermediate_layer_idx"],
        last_features=content.get("head_features_2", 32),
    )
