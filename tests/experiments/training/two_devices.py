"""In a process of its own with two CPU devices: two steps and held-out losses on every mesh of two, and in parts, against one.

The model is a matrix with a LoRA; what judges its predictions chooses among all sequences of the batch, as VGGT's losses do.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.division import Division
from experiments.training.held_out import HeldOutLoss
from experiments.training.loss_function import LossFunction
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import TrainingStep, start
from subspace import LowRank
from tests.experiments.training import tiny

K = 2


def predict(params, frozen, seen):
    found = seen.images @ (frozen["aggregator"]["attn"]["qkv"]["kernel"] + params["weight"].to_dense()).T
    return {"maps": found, "iterations": jnp.stack([found.mean((2, 3)), found.max((2, 3))])}


def judge(predicted, batch, params):
    errors = jnp.abs(predicted["maps"] - batch.depths[..., None])
    kept = errors < jnp.quantile(jax.lax.stop_gradient(errors), 0.7)
    value = jnp.sum(errors * kept) / jnp.sum(kept) + jnp.mean(predicted["iterations"] ** 2)
    penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return value + 0.1 * penalty, {"loss_kept": value}


LOSS = LossFunction(predict, judge, lambda _: {"maps": 0, "iterations": 1})


def trained(sizes, devices, division):
    """State, metrics and held-out losses after two steps."""
    rng = np.random.default_rng(7)
    factors = [jnp.asarray(rng.normal(size=(K, n, 2)), jnp.float32) for n in (4, 3)]
    optimizer = make_optimizer(OptimizerSettings(10, peak_rate=0.1, end_rate=0.01))
    placement = Placement(make_mesh(**sizes, devices=devices))
    frozen = placement.frozen({"aggregator": {"attn": {"qkv": {"kernel": jnp.ones((4, 3))}}}})
    state = placement.state(start({"weight": LowRank(*factors)}, optimizer))
    step, metrics = placement.compile(TrainingStep(LOSS, optimizer, division), state), None
    for seed in range(2):
        state, metrics = step(state, frozen, placement.batch(tiny.draw_batch(seed, K, 4, 1)))
    scenes = [tiny.draw_batch(seed, K, 1, views) for seed, views in ((5, 2), (6, 2), (7, 2), (8, 1))]
    return jax.device_get((state, metrics)), HeldOutLoss(LOSS, frozen, placement)(state, scenes)


def main():
    one, two = jax.devices()[:1], jax.devices()
    assert len(two) == 2
    expected = trained({}, one, Division())
    meshes = [{"adapter": 2, "data": 1}, {"data": 2}, {"data": 1, "model": 2}]
    found = {str(sizes): trained(sizes, two, Division()) for sizes in meshes}
    found |= {f"parts of {size}": trained({}, one, Division(size)) for size in (1, 3)}
    found["parts on two"] = trained({"data": 2}, two, Division(1))
    errors = {}
    for name, result in found.items():
        assert jax.tree.structure(result) == jax.tree.structure(expected), name
        pairs = zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True)
        errors[name] = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) for a, b in pairs)
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
