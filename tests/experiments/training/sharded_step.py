"""In a process of its own with 8 CPU devices: the same two steps of four adapters on one device and on meshes of eight."""

import json
import sys
from dataclasses import replace

import jax
import numpy as np

from experiments.training.sharding import Placement, make_mesh
from tests import quick_compilation
from tests.experiments.training import tiny


def steps_on(sizes, devices):
    """State and metrics after two steps of four adapters, and the shardings of some arrays."""
    placement = Placement(make_mesh(**sizes, devices=devices))
    step, state, frozen = tiny.setup(4)
    state, frozen = placement.state(state), placement.frozen(frozen)
    traced = []

    def counted(*arguments):
        traced.append(1)
        return predict(*arguments)

    predict = step.loss.predict
    step = replace(step, loss=replace(step.loss, predict=counted))
    compiled, metrics = placement.compile(step, state), None
    for seed in range(2):
        state, metrics = compiled(state, frozen, placement.batch(tiny.draw_batch(seed, 4, 2, 2)))
    qkv = frozen.base["aggregator"]["frame_blocks"]["attn"]["qkv"]["kernel"][...]
    factor = state.params["aggregator.frame_blocks.attn.qkv"].A
    pieces = {
        "base": qkv.sharding.shard_shape(qkv.shape),
        "adapters": factor.sharding.shard_shape(factor.shape),
        "compilations": len(traced),
    }
    return jax.device_get((state, metrics)), pieces


def main():
    expected, _ = steps_on({}, jax.devices()[:1])
    for sizes in json.loads(sys.argv[1]):
        found, pieces = steps_on(sizes, jax.devices())
        errors = {
            jax.tree_util.keystr(path): float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-6))
            for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True)
            if not np.array_equal(one, other)
        }
        worst = max(errors, key=errors.__getitem__, default=None)
        print(json.dumps({"worst": worst, "error": errors.get(worst, 0.0), "devices": len(jax.devices()), **pieces}))


if __name__ == "__main__":
    quick_compilation.share_contexts()
    main()
