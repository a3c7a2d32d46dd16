"""A model, adapters and batches that compile in seconds; also for scripts that tests run in other processes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from experiments.training.batch import TrainingBatch
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.step import AdaptedBase, TrainingStep, adapter_loss, start
from vggt_jax import VGGTConfig
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import LoRA
from vggt_jax.deltas import dotted
from vggt_jax.parameters import abstract_model

CONFIG = VGGTConfig.from_json(
    {
        "image_size": 16,
        "patch_size": 4,
        "width": 8,
        "encoder": {"depth": 1, "num_heads": 1, "num_registers": 1},
        "aggregator": {"depth": 4, "num_heads": 2, "num_registers": 1, "layer_scale": 1.0},
        "camera": {"depth": 1, "num_heads": 2, "iterations": 2, "mlp_ratio": 2.0, "layer_scale": 1.0},
        "depth": {"features": 4, "out_channels": [4, 4, 4, 4], "layers": [0, 1, 2, 3], "last_features": 4},
        "heads": ["camera", "depth"],
    }
)
CONVOLUTIONS = (
    "depth_head.projects.0",
    "depth_head.resize_layers.3",
    "depth_head.scratch.refinenet2.resConfUnit1.conv1",
    "depth_head.scratch.output_conv2.2",
)
"""A plain one, one with a stride, one at low and one at full resolution."""
OPTIMIZER = OptimizerSettings(steps=20, peak_rate=1e-2, end_rate=1e-4)


def draw_base(seed=0):
    """A graph definition and random parameters without a trivial entry."""
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(abstract_model(CONFIG))

    def draw(leaf):
        size = np.sqrt(np.prod(leaf.shape[-2:-1])) if len(leaf.shape) > 1 else 1
        return jnp.asarray(rng.normal(size=leaf.shape) / (2 * size), jnp.float32)

    return graphdef, jax.tree.map(draw, params)


def write(folder):
    """A random model, whose fields of view are those of cameras, as commands read it."""
    folder.mkdir()
    tensors = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(draw_base()[1])}
    (bias,) = (name for name, value in tensors.items() if name.startswith("camera_head") and value.shape == (9,))
    tensors[bias] = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict()))


def make_lora(graphdef, base, rank=2):
    """A LoRA of every linear layer and of some convolutions: all would take longer to compile."""
    matrices = adaptable(nnx.merge(graphdef, base))
    return LoRA({path: x for path, x in matrices.items() if x.conv is None or path in CONVOLUTIONS}, rank, alpha=4)


def draw_adapters(maker, k, seed=0):
    """k adapters without a zero factor."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(maker.init, jax.random.key(0))
    return jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.normal(size=(k, *x.shape)) / x.shape[-2] ** 0.5, jnp.float32), shapes
    )


def draw_batch(seed, k, b, s):
    """k batches of b sequences of s views of nothing in particular, 16×16."""
    rng = np.random.default_rng(seed)
    shape = (k, b, s, 16, 16)
    extrinsics = np.zeros((k, b, s, 3, 4), np.float32)
    extrinsics[..., :3] = np.linalg.qr(rng.normal(size=(k, b, s, 3, 3)))[0]
    extrinsics[..., :3] *= np.linalg.det(extrinsics[..., :3])[..., None, None]
    extrinsics[..., 3] = rng.normal(size=(k, b, s, 3))
    intrinsics = np.broadcast_to(np.array([[20, 0, 8], [0, 22, 8], [0, 0, 1]], np.float32), (k, b, s, 3, 3))
    return TrainingBatch(
        images=rng.uniform(size=(*shape, 3)).astype(np.float32),
        depths=rng.uniform(1, 4, size=shape).astype(np.float32),
        point_masks=rng.uniform(size=shape) < 0.9,
        extrinsics=extrinsics,
        intrinsics=intrinsics,
    )


def setup(k, seed=0):
    """(step, state, frozen) of k adapters of the tiny model."""
    graphdef, base = draw_base()
    maker, optimizer = make_lora(graphdef, base), make_optimizer(OPTIMIZER)
    step = TrainingStep(adapter_loss(graphdef, Objective()), optimizer)
    return step, start(draw_adapters(maker, k, seed), optimizer), AdaptedBase(base, maker)
