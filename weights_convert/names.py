"""The official VGGT checkpoint's names and layouts, and how they become this project's parameters and back.

Layouts (PyTorch → here): linear weights (outputs, inputs) → (inputs, outputs), convolutions OIHW → HWIO, transposed
convolutions IOHW → HWIO; norm weights are called ``scale``. Blocks are stacked over their layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vggt_jax.config import Head, VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.parameters import abstract_model
from weights_convert.table import Rule, Shape, Table, assemble, permutation, take_apart

LINEAR = permutation(1, 0)
CONV = permutation(2, 3, 1, 0)
TRANSPOSED_CONV = permutation(2, 3, 0, 1)

_DENSE = r"(?:depth_head|point_head|track_head\.feature_extractor)"
_TRACKER = r"track_head\.tracker"

FIELDS = {
    "blocks": r"aggregator\.(?:patch_embed\.blocks|frame_blocks|global_blocks)|camera_head\.trunk"
    rf"|{_TRACKER}\.updateformer\.\w+_blocks",
    "block_linear": r"attn\.(?:qkv|proj)|mlp\.fc[12]|(?:cross_)?attn\.out_proj",
    "block_norm": r"norm[12]|norm_context|attn\.[qk]_norm",
    "block_attention": r"(?:cross_)?attn",
    "block_scale": r"ls[12]",
    "linear": r"camera_head\.(?:embed_pose|poseLN_modulation\.1|pose_branch\.fc[12])"
    rf"|{_TRACKER}\.(?:corr_mlp\.fc[12]|updateformer\.(?:input_transform|flow_head)"
    r"|(?:ffeat_updater|vis_predictor|conf_predictor)\.0)",
    "norm": rf"aggregator\.patch_embed\.norm|camera_head\.(?:token|trunk)_norm|{_DENSE}\.norm"
    rf"|{_TRACKER}\.(?:fmap_norm|ffeat_norm|updateformer\.(?:input|output)_norm)",
    "conv": rf"aggregator\.patch_embed\.patch_embed\.proj|{_DENSE}\.(?:projects\.\d|resize_layers\.3"
    r"|scratch\.(?:layer\d_rn|output_conv1|output_conv2\.[02]|refinenet\d\.(?:out_conv|resConfUnit\d\.conv\d)))",
    "upsample": rf"{_DENSE}\.resize_layers\.[01]",
    "tokens": r"aggregator\.(?:camera_token|register_token)"
    r"|aggregator\.patch_embed\.(?:cls_token|pos_embed|register_tokens|mask_token)"
    rf"|camera_head\.empty_pose_tokens|{_TRACKER}\.(?:query_ref_token|updateformer\.virual_tracks)",
}

OFFICIAL = Table(
    [
        Rule("{blocks}.{layer}.{block_linear}.weight", "{blocks}.{block_linear}.kernel", LINEAR),
        Rule("{blocks}.{layer}.{block_linear}.bias", "{blocks}.{block_linear}.bias"),
        Rule("{blocks}.{layer}.{block_attention}.in_proj_weight", "{blocks}.{block_attention}.in_proj.kernel", LINEAR),
        Rule("{blocks}.{layer}.{block_attention}.in_proj_bias", "{blocks}.{block_attention}.in_proj.bias"),
        Rule("{blocks}.{layer}.{block_norm}.weight", "{blocks}.{block_norm}.scale"),
        Rule("{blocks}.{layer}.{block_norm}.bias", "{blocks}.{block_norm}.bias"),
        Rule("{blocks}.{layer}.{block_scale}.gamma", "{blocks}.{block_scale}.gamma"),
        Rule("{linear}.weight", "{linear}.kernel", LINEAR),
        Rule("{linear}.bias", "{linear}.bias"),
        Rule("{norm}.weight", "{norm}.scale"),
        Rule("{norm}.bias", "{norm}.bias"),
        Rule("{conv}.weight", "{conv}.kernel", CONV),
        Rule("{conv}.bias", "{conv}.bias"),
        Rule("{upsample}.weight", "{upsample}.kernel", TRANSPOSED_CONV),
        Rule("{upsample}.bias", "{upsample}.bias"),
        Rule("{tokens}", "{tokens}"),
    ],
    FIELDS,
)


def leaf_shapes(params: nnx.State) -> dict[str, Shape]:
    """Dotted path → shape of every leaf of real or abstract parameters."""
    return {dotted(keys): tuple(leaf.shape) for keys, leaf in nnx.to_flat_state(params)}


def without_absent_heads(names: Mapping[str, Shape], config: VGGTConfig) -> dict[str, Shape]:
    """``names`` less those of the heads that ``config`` leaves out; a full checkpoint fits a model with fewer heads."""
    heads: dict[Head, str] = {head: f"{head}_head." for head in ("camera", "depth", "point", "track")}
    absent = tuple(prefix for head, prefix in heads.items() if head not in config.heads)
    return {name: shape for name, shape in names.items() if not name.startswith(absent)}


def from_official(tensors: Mapping[str, np.ndarray], config: VGGTConfig) -> nnx.State:
    """The parameters of ``VGGT(config)`` from tensors under official names.

    Types are kept; a stack of layers of several types gets one that holds all their numbers exactly. Without
    ``jax_enable_x64`` float64 is rounded to float32, as JAX does with every array. Tensors of heads that ``config.heads``
    leaves out are passed over; of the others each is used exactly once.

    Raises one InputError that lists every missing, unexpected, twice-matched and wrongly shaped tensor.
    """
    params = nnx.state(abstract_model(config), nnx.Param)
    leaves = leaf_shapes(params)
    names = without_absent_heads({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
    arrays = assemble(OFFICIAL.plan(names, leaves), tensors.__getitem__, leaves)
    return nnx.from_flat_state(
        (keys, leaf.replace(jnp.asarray(arrays[dotted(keys)]))) for keys, leaf in nnx.to_flat_state(params)
    )


def to_official(params: nnx.State) -> dict[str, np.ndarray]:
    """The tensors of ``params`` under official names and in official layouts; undoes :func:`from_official` exactly."""
    arrays = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(params)}
    return take_apart(OFFICIAL.names(leaf_shapes(params)), arrays)
