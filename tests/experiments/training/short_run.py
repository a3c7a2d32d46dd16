"""A run that ends in a second, of a model with one matrix or of the tiny VGGT; as a program, one that kills itself.

``python -m tests.experiments.training.short_run FOLDER MODEL [STEP MOMENT]`` is gone at that step of ``kill -9``.
"""

import os
import signal
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.process.reporting import SILENT
from experiments.training.checkpoints import Checkpoints
from experiments.training.loop import LoopSettings, train
from experiments.training.loss_function import LossFunction
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import TrainingStep, start
from subspace import LowRank
from tests.experiments.training import tiny

SETTINGS = LoopSettings(steps=7, checkpoint_every=2, validate_every=3)
K = 2


def make_batch(step):
    return tiny.draw_batch(step, K, 2, 1)


OPTIMIZER = make_optimizer(OptimizerSettings(SETTINGS.steps, peak_rate=0.1, end_rate=0.01))


@cache
def one_matrix_step():
    """One function for all runs of a process, which JAX compiles once."""

    def predict(params, frozen, seen):
        return seen.images @ (frozen + params["weight"].to_dense()).T

    def judge(found, batch, params):
        value = jnp.mean((found - batch.depths[..., None]) ** 2)
        return value, {"loss_regression": value}

    return TrainingStep(LossFunction(predict, judge), OPTIMIZER)


def one_matrix():
    """Step, state and frozen arrays of a regression by W + A Bᵀ: compiles at once, and is a LoRA's all the same."""
    rng = np.random.default_rng(7)
    factors = [jnp.asarray(rng.normal(size=(K, n, 2)), jnp.float32) for n in (4, 3)]
    return one_matrix_step(), start({"weight": LowRank(*factors)}, OPTIMIZER), jnp.ones((4, 3))


MODELS = {"one_matrix": one_matrix, "vggt": lambda: tiny.setup(K)}


def run(
    folder,
    model="one_matrix",
    *,
    batches=make_batch,
    settings=SETTINGS,
    identity=None,
    validate=None,
    placement=None,
    reporter=SILENT,
):
    def norms(state):
        leaves = [np.asarray(leaf).reshape(K, -1) for leaf in jax.tree.leaves(state.params)]
        return {"norm": np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)}

    step, state, frozen = MODELS[model]()
    return train(
        step,
        state,
        frozen,
        batches,
        placement or Placement(make_mesh(devices=jax.devices()[:1])),
        settings,
        Path(folder),
        identity or {"model": model, "seed": 0},
        validate=validate or norms,
        reporter=reporter,
    )


def kill_at(step, moment):
    """From now on the process is gone before, within (files written, but not yet renamed) or after that step's saving."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    save = Checkpoints.save

    def saving(self, state):
        if int(state.step) != step:
            return save(self, state)
        if moment == "before":
            die()
        if moment == "within":
            os.rename = os.replace = die
        save(self, state)
        die()

    Checkpoints.save = saving


if __name__ == "__main__":
    folder, model, *death = sys.argv[1:]
    if death:
        kill_at(int(death[0]), death[1])
    run(folder, model)
