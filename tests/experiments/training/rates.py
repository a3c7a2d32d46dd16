"""What the optimiser multiplies its steps by."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from experiments.training.optimizer import make_optimizer


def learning_rate(settings):
    """Step (from 0) → learning rate: how far a number moves whose gradients have been 1 in no step before."""
    optimizer = make_optimizer(replace(settings, clip=1.0, weight_decay=0.0))
    number = jnp.zeros(1)
    state = optimizer.init(number)

    @jax.jit
    def moved(step):
        later = jax.tree.map_with_path(
            lambda path, leaf: step if jax.tree_util.keystr(path).endswith(".step") else leaf, state
        )
        change, _ = optimizer.update(jnp.ones(1), later, number)
        return -jnp.asarray(change)[0]

    return lambda step: moved(jnp.asarray(step, jnp.int32))
