"""Sizes and run-time choices of a VGGT, with its presets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from subspace.errors import InputError

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
            if sorted(set(layers)) != list(layers) or layers[0] < 0 or layers[-1] >= self.aggregator.depth:
                problems.append(f"{name}: layers {layers} must ascend within 0..{self.aggregator.depth - 1}")
        for name in ("dtype", "head_dtype"):
            if getattr(self, name) not in get_args(DType):
                problems.append(f"{name} {getattr(self, name)!r} is not one of {', '.join(get_args(DType))}")
        if self.frames_chunk < 1:
            problems.append(f"frames_chunk {self.frames_chunk} is less than 1")
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

        Raises ValueError for unknown keys and for contradictory sizes, KeyError for missing ones.
        """
        content = source if isinstance(source, Mapping) else json.loads(Path(source).read_text(encoding="utf-8"))
        return _from_official(content) if "embed_dim" in content else _from_dict(cls, content)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of numbers, strings, lists and dictionaries, for JSON; :meth:`from_json` reads it."""
        content = asdict(self)
        for name, default in (("trained_heights", None), ("keep_attention", True)):
            if content[name] == default:  # so that what is named by a configuration keeps its name
                del content[name]
        return content


_PARTS = {
    "encoder": EncoderConfig,
    "aggregator": AggregatorConfig,
    "camera": CameraHeadConfig,
    "depth": DenseHeadConfig,
    "point": DenseHeadConfig,
    "track": TrackHeadConfig,
    "extractor": DenseHeadConfig,
}


def _from_dict(cls: type, content: Mapping[str, Any]) -> Any:
    unknown = set(content) - {f.name for f in fields(cls)}
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
    return cls(
        **{
            name: _from_dict(_PARTS[name], value)
            if isinstance(value, Mapping)
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in content.items()
        }
    )


def _from_official(content: Mapping[str, Any]) -> VGGTConfig:
    encoder, aggregator, camera, track = (content[k] for k in ("dino", "aggregator", "camera_head", "track_head"))
    transformer = track["update_transformer"]
    return VGGTConfig(
        image_size=content["img_size"],
        patch_size=content["patch_size"],
        width=content["embed_dim"],
        encoder=EncoderConfig(
            depth=encoder["depth"],
            num_heads=encoder["num_heads"],
            mlp_ratio=float(encoder["mlp_ratio"]),
            num_registers=encoder["num_register_tokens"],
        ),
        aggregator=AggregatorConfig(
            depth=aggregator["depth"],
            num_heads=aggregator["num_heads"],
            mlp_ratio=float(aggregator["mlp_ratio"]),
            num_registers=content["num_register_tokens"],
            rope_base=float(aggregator["rope_freq"]),
        ),
        camera=CameraHeadConfig(
            depth=camera["trunk_depth"],
            num_heads=camera["num_heads"],
            mlp_ratio=float(camera["mlp_ratio"]),
            iterations=camera["num_iterations"],
        ),
        depth=_dense_from_official(content["depth_head"]),
        point=_dense_from_official(content["point_head"]),
        track=TrackHeadConfig(
            extractor=_dense_from_official(track["feature_extractor"]),
            iterations=track["iters"],
            stride=track["stride"],
            corr_levels=track["corr_levels"],
            corr_radius=track["corr_radius"],
            hidden_size=track["hidden_size"],
            space_depth=transformer["space_depth"],
            time_depth=transformer["time_depth"],
            num_heads=transformer["num_heads"],
            mlp_ratio=float(transformer["mlp_ratio"]),
            num_virtual_tracks=transformer["num_virtual_tracks"],
            max_scale=float(track["max_scale"]),
        ),
        image_mean=tuple(content["image_mean"]),
        image_std=tuple(content["image_std"]),
    )


def _dense_from_official(content: Mapping[str, Any]) -> DenseHeadConfig:
    return DenseHeadConfig(
        features=content["features"],
        out_channels=tuple(content["out_channels"]),
        layers=tuple(content["intermediate_layer_idx"]),
        last_features=content.get("head_features_2", 32),
    )
