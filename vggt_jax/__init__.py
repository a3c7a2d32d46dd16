"""VGGT in Flax NNX, equal to the official PyTorch model."""

from vggt_jax.config import (
    AggregatorConfig,
    CameraHeadConfig,
    DenseHeadConfig,
    EncoderConfig,
    TrackHeadConfig,
    VGGTConfig,
)
from vggt_jax.deltas import merge, unmerge
from vggt_jax.miscompilation import avoid_wrong_fusions
from vggt_jax.model import VGGT, Predictions

avoid_wrong_fusions()

__all__ = [
    "VGGT",
    "AggregatorConfig",
    "CameraHeadConfig",
    "DenseHeadConfig",
    "EncoderConfig",
    "Predictions",
    "TrackHeadConfig",
    "VGGTConfig",
    "merge",
    "unmerge",
]
