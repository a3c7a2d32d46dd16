"""VGGT in Flax NNX, equal to the official PyTorch model."""

from typing import TYPE_CHECKING

import lazy_loader

import subspace  # noqa: F401  makes the settings of the process that JAX needs

if TYPE_CHECKING:
    from vggt_jax.config import (
        AggregatorConfig,
        CameraHeadConfig,
        DenseHeadConfig,
        EncoderConfig,
        TrackHeadConfig,
        VGGTConfig,
    )
    from vggt_jax.deltas import merge, unmerge
    from vggt_jax.model import VGGT, Predictions

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

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": [
            "AggregatorConfig",
            "CameraHeadConfig",
            "DenseHeadConfig",
            "EncoderConfig",
            "TrackHeadConfig",
            "VGGTConfig",
        ],
        "deltas": ["merge", "unmerge"],
        "model": ["VGGT", "Predictions"],
    },
)
