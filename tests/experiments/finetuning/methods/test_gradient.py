"""Directions of the first gradient, against that of a dense update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.finetuning import data as finetuning_data
from experiments.finetuning.methods import gradient
from experiments.finetuning.methods.gradient import Gradient
from experiments.training.normalization import in_unit_interval, normalize
from experiments.training.sampling import BatchSampler
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.finetuning import small

CHOSEN = ("aggregator.frame_blocks.attn.qkv", "camera_head.pose_branch.fc2", "depth_head.scratch.layer1_rn")


def test_the_first_batches_are_those_that_are_asked_for(tmp_path):
    method = small.settings("gradient", tmp_path).method
    assert isinstance(method, Gradient) and method.batches == 16
    with pytest.raises(InputError, match="batches must be positive, got 0"):
        small.settings("gradient", tmp_path, batches=0)


@pytest.mark.parametrize(("falls", "dim"), [(0, 3), (1, 5)])
def test_m_lies_between_the_singular_vectors_of_the_gradient(monkeypatch, tmp_path, falls, dim):
    """Also where they fall by four decades, as those of gradients do."""
    base = small.base()
    path = CHOSEN[0]
    rng = np.random.default_rng(0)

    def drawn(leaf):
        values = 1e-4 * rng.normal(size=leaf.shape)
        if falls and values.ndim > 1:
            U, sigma, Vt = np.linalg.svd(values, full_matrices=False)
            values = U * (sigma[..., :1] * 10.0 ** (-falls * np.arange(sigma.shape[-1])))[..., None, :] @ Vt
        return values.astype(np.float32)

    given = jax.tree.map(drawn, base.parameters)
    monkeypatch.setattr(gradient, "mean_gradient", lambda *_: given)
    settings = small.settings("gradient", tmp_path, matrices=(path,), plain=(), dim=dim)
    basis = settings.method.trainable(base, settings).frozen.maker.bases[path]
    dense = given["aggregator"]["frame_blocks"]["attn"]["qkv"]["kernel"][...].swapaxes(
        -1, -2
    )  # (layers, outputs, inputs)
    U, _, Vt = np.linalg.svd(np.asarray(dense, np.float64))
    for found, wanted in ((basis.A, U[..., :dim]), (basis.B, Vt.swapaxes(-1, -2)[..., :dim])):
        np.testing.assert_allclose(projection(np.asarray(found)), projection(wanted), atol=1e-2 if falls else 1e-3)


@pytest.mark.slow
def test_the_gradient_is_that_of_a_dense_update_meaned_over_batches(monkeypatch, tmp_path):
    base = small.base()
    monkeypatch.setattr(finetuning_data, "read_data", lambda *_: small.data())
    settings = small.settings("gradient", tmp_path, matrices=CHOSEN, plain=(), dim=2, batches=2)
    assert isinstance(settings.method, Gradient)
    bases = settings.method.trainable(base, settings).frozen.maker.bases

    chosen = {path: small.matrices()[path] for path in CHOSEN}
    eyes = {path: jnp.broadcast_to(jnp.eye(m.m), (*m.stack, m.m, m.m)) for path, m in chosen.items()}
    zeros = {path: jnp.zeros((*m.stack, m.n, m.m)) for path, m in chosen.items()}

    @jax.jit
    @jax.grad
    def dense_gradient(dense, batch):
        deltas = {path: LowRank(update, eyes[path]) for path, update in dense.items()}
        predicted = nnx.merge(base.graphdef, base.parameters)(in_unit_interval(batch.images), deltas=deltas)
        return settings.objective(predicted, normalize(batch))[0]

    sampler = BatchSampler({0: small.data().training}, settings.images, (2,), settings.seed)
    both = [dense_gradient(zeros, jax.tree.map(lambda leaf: leaf[0], sampler(step))) for step in range(2)]
    for path in CHOSEN:
        U, sigma, Vt = np.linalg.svd(np.mean([np.asarray(each[path], np.float64) for each in both], axis=0))
        assert (sigma[..., 1] > 1.05 * sigma[..., 2]).all()  # or the two directions would not be determined
        for found, wanted in ((bases[path].A, U[..., :2]), (bases[path].B, Vt.swapaxes(-1, -2)[..., :2])):
            np.testing.assert_allclose(projection(np.asarray(found)), projection(wanted), atol=0.02)


def projection(columns):
    return columns @ columns.swapaxes(-1, -2)
