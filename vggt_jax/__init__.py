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
    from vggt_jax.geometry import unproject_depth
    from vggt_jax.model import VGGT, Predictions
    from vggt_jax.pose_encoding import decode_pose
    from vggt_jax.preprocessing import load_images

__all__ = [
    "VGGT",
    "AggregatorConfig",
    "CameraHeadConfig",
    "DenseHeadConfig",
    "EncoderConfig",
    "Predictions",
    "TrackHeadConfig",
    "VGGTConfig",
    "decode_pose",
    "load_images",
    "merge",
    "unmerge",
    "unproject_depth",
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
        "geometry": ["unproject_depth"],
        "model": ["VGGT", "Predictions"],
        "pose_encoding": ["decode_pose"],
        "preprocessing": ["load_images"],
    },
)
