"""AdamW with warm-up, cosine decay and clipping, as the paper's supplement and VGGT's published training code have it; or one
step along the mean of all gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.storage.arguments import convert_fields
from experiments.storage.identity import NO_EFFECT_BY_DEFAULT
from subspace.errors import InputError
from vggt_jax.deltas import dotted

Rule = Literal["adamw", "mean_gradient"]
"""AdamW, or nothing until the last step, which goes along the mean of all gradients: all are gradients at the start."""


@dataclass(frozen=True)
class OptimizerSettings:
    """The paper's learning rates and clipping (Supp. A); weight decay is that of VGGT's training code, the paper has none.

    The learning rate rises linearly from ``end_rate`` to ``peak_rate``, then falls to ``end_rate`` along a cosine. AdamW's
    moments decay by 0.9 and 0.999, its epsilon is 1e-8; all trained numbers decay.

    Every field takes part in :func:`experiments.storage.identity.identity`.

    Raises InputError for numbers that contradict each other.
    """

    steps: int
    """Steps of the whole run, over which the learning rate follows its schedule."""
    peak_rate: float = 1e-5
    """Learning rate after the warm-up."""
    end_rate: float = 1e-8
    """Learning rate after the last step, and at the first one if there is a warm-up."""
    warmup: float = 0.05
    """Share of the steps, in [0, 1), over which the learning rate rises; rounded to whole steps, so none of fewer than ten."""
    clip: float = 0.5
    """Largest norm of one adapter's gradient; longer ones are shortened to it."""
    weight_decay: float = 0.05
    """Weight decay of AdamW, which is multiplied by the learning rate."""
    input_rate: float = field(default=1.0, metadata=NO_EFFECT_BY_DEFAULT)
    """Learning rate of LoRAs' input factors B as a multiple of that of everything else."""
    rule: Rule = field(default="adamw", metadata=NO_EFFECT_BY_DEFAULT)
    """What follows the gradients; ``mean_gradient`` knows ``steps`` and ``peak_rate`` only."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not self.end_rate > 0:
            raise InputError(f"end_rate must be positive, got {self.end_rate:g}")
        if not self.peak_rate >= self.end_rate:
            raise InputError(
                f"peak_rate must be at least the rate at the end, {self.end_rate:g}, got {self.peak_rate:g}",
                argument="peak_rate",
            )
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup is a fraction of the steps in [0, 1), got {self.warmup}")
        if round(self.warmup * self.steps) == self.steps:
            raise InputError(f"warmup={self.warmup:g} leaves none of {self.steps} steps after it")
        if not self.input_rate > 0:
            raise InputError(f"input_rate must be positive, got {self.input_rate}", argument="input_rate")
        if not (self.clip > 0 and self.weight_decay >= 0):
            raise InputError(f"needs clip > 0 and weight_decay >= 0, got {self.clip}, {self.weight_decay}")


def _rate(settings: OptimizerSettings, step: Any, end: Any, peak: Any) -> Any:
    """Between rates that may be known only when the compiled step runs."""
    share = optax.warmup_cosine_decay_schedule(0.0, 1.0, round(settings.warmup * settings.steps), settings.steps)
    return end + (peak - end) * share(step)


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """The optimiser of one adapter, for any pytree of arrays.

    The two rates are part of its state, so that one compiled step serves all that are compared.
    """
    if settings.rule == "mean_gradient":
        one_step = optax.MultiSteps(optax.sgd(settings.peak_rate), settings.steps)
        return _on_leaves(one_step.gradient_transformation())
    last = [] if settings.input_rate == 1 else [_inputs_at(settings.input_rate)]
    return _on_leaves(
        optax.chain(
            optax.clip_by_global_norm(settings.clip),
            optax.scale_by_adam(),
            optax.add_decayed_weights(settings.weight_decay),
            _scheduled(settings),
            *last,
        )
    )


def _inputs_at(multiple: float) -> optax.GradientTransformation:
    """Multiplies the updates of input factors, whose paths end in B; LoRA+ (Hayou et al. 2024) does so with output factors."""

    def update(updates: Any, params: Any) -> Any:
        return {name: multiple * change if name.endswith(".B") else change for name, change in updates.items()}

    return optax.stateless(update)


class _Rates(NamedTuple):
    step: jax.Array
    end: jax.Array
    peak: jax.Array


def _scheduled(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Multiplies by minus the learning rate of the step."""

    def init(params: Any) -> _Rates:
        end, peak = (jnp.asarray(rate, jnp.float32) for rate in (settings.end_rate, settings.peak_rate))
        return _Rates(jnp.zeros((), jnp.int32), end, peak)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Rates]:
        rate = _rate(settings, state.step, state.end, state.peak)
        return jax.tree.map(lambda x: -rate * x, updates), state._replace(step=state.step + 1)

    return optax.GradientTransformation(init, update)


def _on_leaves(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """``optimizer`` on a dictionary of the leaves by path.

    optax computes norms through trees of numbers, which a ``LowRank``, whose factors must be matrices, cannot hold.
    """

    def leaves(tree: Any) -> dict[str, jax.Array]:
        return {dotted(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}

    def update(updates: Any, state: Any, params: Any = None, **_: Any) -> tuple[Any, Any]:
        changed: Any
        changed, state = optimizer.update(leaves(updates), state, leaves(params))
        return jax.tree.map_with_path(lambda path, _: changed[dotted(path)], updates), state

    return optax.GradientTransformation(lambda params: optimizer.init(leaves(params)), update)
