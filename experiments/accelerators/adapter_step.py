"""The training step of adapters on abstract shapes: the paper's losses and AdamW on a VGGT, for benchmarks and plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.training.batch import TrainingBatch
from experiments.training.division import Division
from experiments.training.loss_function import LossFunction
from experiments.training.losses import Objective, RegressionLoss
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.step import AdaptedBase, TrainingState, TrainingStep, adapter_loss, start
from subspace import Basis
from vggt_jax import VGGTConfig
from vggt_jax.adapters import LoRA, Maker, SubspaceForm, abstract_bases, initialize
from vggt_jax.parameters import abstract_model, adaptable_matrices, for_products


@dataclass(frozen=True, eq=False)
class AdapterStep:
    """A step of k adapters, and the shapes of what it takes."""

    step: TrainingStep
    loss: LossFunction
    """What each adapter minimises."""
    state: TrainingState
    """Abstract; :meth:`new_state` makes a real one."""
    parameters: nnx.State
    """Abstract; kernels have the type of their products."""
    maker: Maker
    _optimizer: Any

    @classmethod
    def of(cls, config: VGGTConfig, maker: Maker, adapters: int = 1, accumulate: int | None = None) -> AdapterStep:
        """``adapters`` of ``maker``, whose constants may be abstract, on a VGGT; ``accumulate`` as in a plan of steps."""
        graphdef, parameters = nnx.split(abstract_model(config))
        parameters = jax.eval_shape(lambda parameters: for_products(parameters, config), parameters)
        optimizer = make_optimizer(OptimizerSettings(24_000))
        loss = adapter_loss(graphdef, _objective(config))
        step = TrainingStep(loss, optimizer, Division(accumulate))
        state = jax.eval_shape(lambda maker: _start(maker, optimizer, adapters), maker)
        return cls(step, loss, state, parameters, maker, optimizer)

    def new_state(self, adapters: int = 1) -> TrainingState:
        """The state before the first step."""
        return _start(self.maker, self._optimizer, adapters)

    def frozen(self, parameters: nnx.State) -> AdaptedBase:
        return AdaptedBase(parameters, self.maker)


def _objective(config: VGGTConfig) -> Objective:
    """The paper's, without what the model has no head for."""
    return Objective(depth=RegressionLoss() if "depth" in config.heads else None)


def lora(config: VGGTConfig, rank: int) -> LoRA:
    """With rank = alpha, on all matrices that the paper adapts."""
    return LoRA(adaptable_matrices(config), rank, rank)


def subspace_form(config: VGGTConfig, dim: int, *, abstract: bool = False) -> SubspaceForm:
    """An M of side min(``dim``, n, m) on all matrices that the paper adapts, between random orthonormal bases.

    With ``abstract`` there are shapes in the place of bases.
    """
    bases = abstract_bases(adaptable_matrices(config), dim)
    return SubspaceForm(bases if abstract else _random_bases(bases))


def _random_bases(shapes: Mapping[str, Basis]) -> dict[str, Basis]:
    rng = np.random.default_rng(0)

    def columns(shape: Any) -> jax.Array:
        return jnp.asarray(np.linalg.qr(rng.standard_normal(shape.shape, np.float32))[0])

    found = {}
    for path, basis in shapes.items():
        ranks = jnp.full(basis.output_rank.shape, basis.A.shape[-1])
        spectrum = jnp.ones(basis.output_spectrum.shape)
        found[path] = Basis(columns(basis.A), columns(basis.B), ranks, ranks, spectrum, spectrum)
    return found


def _start(maker: Maker, optimizer: Any, adapters: int) -> TrainingState:
    return start(initialize(maker, jax.random.key(0), adapters, "independent"), optimizer)


def batch_shapes(adapters: int, sequences: int, views: int, side: int, tokens: tuple[int, int] | None) -> TrainingBatch:
    """An abstract batch; ``tokens`` (patches, width) for one whose images are encoded already."""
    lead = (adapters, sequences, views)

    def shape(*own: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct((*lead, *own), dtype)

    return TrainingBatch(
        images=shape(side, side, 3, dtype=jnp.uint8),
        depths=shape(side, side),
        point_masks=shape(side, side, dtype=jnp.bool_),
        extrinsics=shape(3, 4),
        intrinsics=shape(3, 3),
        patch_tokens=None if tokens is None else shape(*tokens),
    )


def random_batch(shapes: TrainingBatch) -> TrainingBatch:
    """Numbers that give a finite loss: unit focal lengths, cameras side by side, depths between 1 and 2."""
    keys = iter(jax.random.split(jax.random.key(1), 8))

    def uniform(leaf: Any, low: float = 0.0, high: float = 1.0) -> jax.Array:
        return jax.random.uniform(next(keys), leaf.shape, jnp.float32, low, high)

    side = shapes.images.shape[-2]
    eye = jnp.eye(3)
    rotations = jnp.broadcast_to(eye, shapes.intrinsics.shape)
    translations = uniform(jax.ShapeDtypeStruct((*rotations.shape[:-1], 1), jnp.float32))
    return TrainingBatch(
        images=jax.random.randint(next(keys), shapes.images.shape, 0, 256, jnp.uint8),
        depths=uniform(shapes.depths, 1, 2),
        point_masks=jnp.ones(shapes.point_masks.shape, bool),
        extrinsics=jnp.concatenate([rotations, translations], axis=-1),
        intrinsics=jnp.broadcast_to(eye * jnp.array([side, side, 1.0]), shapes.intrinsics.shape),
        patch_tokens=None if shapes.patch_tokens is None else uniform(shapes.patch_tokens, -1, 1),
    )
