"""How much is rendered and trained: in minutes on a CPU, or as in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from experiments.scenes.schema import Setting

if TYPE_CHECKING:
    from vggt_jax.config import DType


@dataclass(frozen=True)
class Preset:
    """Everything that is not a choice of the experiment; no code depends on which preset it is."""

    weights: str
    """Of the base model, where no others are named."""
    resolution: int
    """Width and height of the pictures in pixels."""
    datasets: Mapping[Setting, int]
    """k, by setting."""
    scenes: int
    """For training, of each data set …"""
    held_out: int
    """… and further ones to validate on."""
    views: int
    """Of each scene."""
    samples: int
    """Paths per pixel of the renderer."""
    rank: int
    """r of the adapters."""
    alpha: float
    """The factor of an update is alpha / rank."""
    dim: int
    """d' of the shared subspace."""
    steps: int
    images: int
    """In a step of one adapter …"""
    fewest_views: int
    """… as sequences of at least this many views …"""
    most_views: int
    """… and at most this many."""
    held_out_views: int
    """Of a held-out scene, in one sequence."""
    peak_rate: float
    """Learning rate after the warm-up."""
    dtype: DType
    """Of the matrix products in encoder and aggregator."""
    remat: bool
    """Recompute the blocks in the backward pass."""
    cache_tokens: bool
    """Keep the frozen encoder's tokens of every image, where that fits."""


PresetName = Literal["nano", "vggt_1b"]
PRESETS: Mapping[PresetName, Preset] = {
    "nano": Preset(
        weights="nano",
        resolution=96,
        datasets={"micro_baseline": 5, "object_centric": 5, "wide_baseline": 5},
        scenes=12,
        held_out=4,
        views=8,
        samples=4,
        rank=8,
        alpha=8,
        dim=8,
        steps=100,
        images=8,
        fewest_views=4,
        most_views=4,
        held_out_views=4,
        peak_rate=1e-3,
        dtype="float32",
        remat=False,
        cache_tokens=True,
    ),
    "vggt_1b": Preset(
        weights="hf:facebook/VGGT-1B",
        resolution=518,
        datasets={"micro_baseline": 5, "object_centric": 10, "wide_baseline": 10},
        scenes=200,
        held_out=8,
        views=100,
        samples=4,
        rank=16,
        alpha=16,
        dim=16,
        steps=24_000,
        images=32,
        fewest_views=4,
        most_views=16,
        held_out_views=8,
        peak_rate=1e-5,
        dtype="bfloat16",
        remat=True,
        cache_tokens=False,
    ),
}
