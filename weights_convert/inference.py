"""The sizes of a VGGT, read off the shapes of an official checkpoint's tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt, nextafter
from typing import get_args

from subspace.errors import InputError
from vggt_jax.config import (
    AggregatorConfig,
    CameraHeadConfig,
    DenseHeadConfig,
    EncoderConfig,
    Head,
    TrackHeadConfig,
    VGGTConfig,
)
from weights_convert.table import Shape

_ENCODER = "aggregator.patch_embed"
_TRACKER = "track_head.tracker"


def infer_config(shapes: Mapping[str, Shape]) -> VGGTConfig:
    """The configuration of the model whose tensors have these official names and shapes.

    All sizes are in the shapes. The heads of the frame and global blocks are as wide as their ``q_norm``; the encoder's
    and camera head's attention leaves no trace, and has as many heads as those blocks (true of VGGT-1B). The correlation
    radius is the largest that divides the tracker's number of correlations. What shapes cannot show has VGGT-1B's values:
    the layers that the dense heads read, iterations, the tracker's 8 attention heads, its stride and flow scale, RoPE's
    base, the images' mean and standard deviation.

    Where a tensor that a size is taken from is absent or malformed, VGGT-1B's size stands in for it: the strict comparison
    that follows reports the tensor.

    Raises InputError for dense heads on an aggregator without VGGT-1B's depth, since the layers they read are unknown, and
    for sizes that contradict each other.
    """
    found = _Shapes(shapes)
    official = VGGTConfig.vggt_1b()
    heads = tuple(head for head in get_args(Head) if any(name.startswith(f"{head}_head.") for name in shapes))
    width = found.size("aggregator.camera_token", 3, official.width)
    patch = found.size(f"{_ENCODER}.patch_embed.proj.weight", 3, official.patch_size)
    positions = found.size(f"{_ENCODER}.pos_embed", 1, 1 + (official.image_size // official.patch_size) ** 2)
    blocks = "aggregator.(frame|global)_blocks"
    num_heads = max(width // max(found.size(rf"{blocks}.\d+.attn.q_norm.weight", 0, 64), 1), 1)
    depth = found.depth(blocks, official.aggregator.depth)
    if depth != official.aggregator.depth and {"depth", "point", "track"} & set(heads):
        raise InputError(
            f"the aggregator has {depth} layers where VGGT-1B has {official.aggregator.depth}, and no tensor shows which "
            "of them the dense heads read: put a config.json beside the weights"
        )
    return replace(
        official,
        image_size=isqrt(max(positions - 1, 0)) * patch,
        patch_size=patch,
        width=width,
        heads=heads,
        encoder=EncoderConfig(
            depth=found.depth(f"{_ENCODER}.blocks", official.encoder.depth),
            num_heads=num_heads,
            mlp_ratio=found.mlp_ratio(f"{_ENCODER}.blocks"),
            num_registers=found.size(f"{_ENCODER}.register_tokens", 1, official.encoder.num_registers),
        ),
        aggregator=AggregatorConfig(
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=found.mlp_ratio(blocks),
            num_registers=found.size("aggregator.register_token", 2, official.aggregator.num_registers),
        ),
        camera=CameraHeadConfig(
            depth=found.depth("camera_head.trunk", official.camera.depth),
            num_heads=num_heads,
            mlp_ratio=found.mlp_ratio("camera_head.trunk"),
        ),
        depth=_dense(found, "depth_head", official.depth),
        point=_dense(found, "point_head", official.point),
        track=_track(found, official.track),
    )


def _dense(found: _Shapes, head: str, official: DenseHeadConfig) -> DenseHeadConfig:
    first, second, third, fourth = (
        found.size(f"{head}.projects.{i}.weight", 0, channels) for i, channels in enumerate(official.out_channels)
    )
    return replace(
        official,
        features=found.size(rf"{head}.scratch.layer\d_rn.weight", 0, official.features),
        out_channels=(first, second, third, fourth),
        last_features=found.size(f"{head}.scratch.output_conv2.0.weight", 0, official.last_features),
    )


def _track(found: _Shapes, official: TrackHeadConfig) -> TrackHeadConfig:
    transformer = f"{_TRACKER}.updateformer"
    correlations = found.size(
        f"{_TRACKER}.corr_mlp.fc1.weight", 1, official.corr_levels * (2 * official.corr_radius + 1) ** 2
    )
    radius = max(r for r in range(isqrt(max(correlations, 0)) // 2 + 1) if correlations % (2 * r + 1) ** 2 == 0)
    return replace(
        official,
        extractor=_dense(found, "track_head.feature_extractor", official.extractor),
        corr_levels=correlations // (2 * radius + 1) ** 2,
        corr_radius=radius,
        hidden_size=found.size(f"{transformer}.input_transform.weight", 0, official.hidden_size),
        space_depth=found.depth(f"{transformer}.space_virtual_blocks", official.space_depth),
        time_depth=found.depth(f"{transformer}.time_blocks", official.time_depth),
        mlp_ratio=found.mlp_ratio(f"{transformer}.time_blocks"),
        num_virtual_tracks=found.size(f"{transformer}.virual_tracks", 1, official.num_virtual_tracks),
    )


class _Shapes:
    """Questions to the shapes of a checkpoint; names are asked for by regular expressions (dots stand for themselves)."""

    def __init__(self, shapes: Mapping[str, Shape]):
        self._shapes = shapes

    def size(self, pattern: str, axis: int, default: int) -> int:
        """The length of one axis of the first tensor that is so called and has that axis."""
        regex = re.compile(pattern.replace(".", r"\."))
        sizes = (shape[axis] for name, shape in self._shapes.items() if regex.fullmatch(name) and len(shape) > axis)
        return next(sizes, default)

    def depth(self, blocks: str, default: int) -> int:
        """How many layers a stack has: one more than the highest number in its names."""
        regex = re.compile(rf"{blocks}.(\d+).".replace(".", r"\."))
        layers = (int(match.groups()[-1]) for name in self._shapes if (match := regex.match(name)))
        return max(layers, default=default - 1) + 1

    def mlp_ratio(self, blocks: str) -> float:
        """The hidden width of a stack's perceptrons as a multiple of their input's."""
        hidden, width = (self.size(rf"{blocks}.\d+.mlp.fc1.weight", axis, size) for axis, size in enumerate((4, 1)))
        ratio = hidden / max(width, 1)
        # The model takes the integer part of width · ratio, which rounding may have put just below.
        return ratio if int(width * ratio) == hidden else nextafter(ratio, float("inf"))
