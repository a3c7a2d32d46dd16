"""LoRA-XS against PEFT: its TinyLoRA, which is LoRA-XS with R from fixed matrices, here the unit ones; and beside PSV."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.finetuning.methods.lora_xs import LoRAXS
from experiments.finetuning.methods.psv import PSV
from vggt_jax.adaptable import Matrix
from vggt_jax.deltas import low_rank_only
from vggt_jax.layers import Linear

RANK = 3
MATRICES = {"wide": Matrix((), 4, 9), "tall": Matrix((), 8, 5)}


class Network(nnx.Module):
    def __init__(self):
        for seed, (name, matrix) in enumerate(MATRICES.items()):
            setattr(self, name, Linear(matrix.m, matrix.n, rngs=nnx.Rngs(seed)))


@pytest.fixture(scope="module")
def base():
    return nnx.split(Network())[1]


@pytest.fixture(scope="module")
def weights(base):
    return {name: np.asarray(base[name]["kernel"][...]).T for name in MATRICES}


@pytest.fixture(scope="module")
def maker(base):
    return LoRAXS(rank=RANK).maker(base, MATRICES)


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.normal(size=(RANK, RANK)), jnp.float32) for name in MATRICES}


def test_updates_are_pefts(weights, maker, trained):
    """PEFT gives Σ^½ to either side, the authors and we all of Σ to the output side: R is Σ^-½ R' Σ^½.

    Signs of singular vectors are free, so R is taken to PEFT's by both bases.
    """
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    model = torch.nn.ModuleDict({name: torch.nn.Linear(x.m, x.n) for name, x in MATRICES.items()})
    with torch.no_grad():
        for name, W in weights.items():
            model[name].weight.copy_(torch.from_numpy(W.copy()))
    config = peft.TinyLoraConfig(target_modules=list(MATRICES), r=RANK, u=RANK * RANK)
    found = peft.get_peft_model(model, config)
    deltas = low_rank_only(maker.deltas(trained))
    for name, W in weights.items():
        layer = found.base_model.model.get_submodule(name)
        layer.tinylora_P["default"] = torch.eye(RANK * RANK).reshape(-1, RANK, RANK)
        left, right = (np.asarray(getattr(layer, f"tinylora_{side}")["default"]) for side in "BA")
        U_sigma, V = np.asarray(maker.bases[name].A), np.asarray(maker.bases[name].B)
        np.testing.assert_allclose(U_sigma @ V.T, left @ right, atol=1e-5)  # both are the principal part of W
        R = np.linalg.pinv(left) @ U_sigma @ np.asarray(trained[name]) @ V.T @ np.linalg.pinv(right)
        with torch.no_grad():
            vector = layer.tinylora_v["default"][layer._tinylora_v_key["default"]]
            vector.copy_(torch.from_numpy(R.ravel().astype(np.float32)))
            expected = layer.get_delta_weight("default").numpy()
        np.testing.assert_allclose(deltas[name].to_dense(), expected, atol=1e-4)
        assert np.abs(expected).max() > 0.1 and W.shape == expected.shape


def test_what_is_frozen_is_the_truncated_decomposition_of_the_weights(weights, maker):
    for name, W in weights.items():
        u, sigma, vt = np.linalg.svd(W, full_matrices=False)
        basis = maker.bases[name]
        signs = np.sign(np.sum(np.asarray(basis.B) * vt[:RANK].T, axis=0))
        np.testing.assert_allclose(basis.A, signs * u[:, :RANK] * sigma[:RANK], atol=1e-4)
        np.testing.assert_allclose(basis.B, signs * vt[:RANK].T, atol=1e-4)


def test_it_starts_at_the_base_model_and_trains_r_squared_numbers(maker):
    params = maker.init(jax.random.key(0))
    assert all(R.shape == (RANK, RANK) and not R.any() for R in params.values())
    assert all(not delta.to_dense().any() for delta in low_rank_only(maker.deltas(params)).values())


def test_psv_reaches_the_same_updates(base, maker, trained):
    psv = PSV(dim=RANK, plain=None).maker(base, MATRICES)
    M = {name: jnp.linalg.norm(maker.bases[name].A, axis=0)[:, None] * R for name, R in trained.items()}
    for name, delta in low_rank_only(psv.deltas(M)).items():
        np.testing.assert_allclose(delta.to_dense(), low_rank_only(maker.deltas(trained))[name].to_dense(), atol=1e-5)
