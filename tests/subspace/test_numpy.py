"""NumPy's arrays are computed by NumPy, in their own precision, and give what JAX's give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import subspace
from subspace import LowRank
from tests.subspace.oracle import random_adapters

X, Y = (LowRank(*random_adapters(seed, 2, 12, 9, 3)) for seed in (0, 1))
DEFICIENT = LowRank(np.concatenate([X.A, -2 * X.A[..., :1]], -1), np.concatenate([X.B, X.B[..., 1:2]], -1))
SPECTRA = np.sort(np.random.default_rng(0).random((3, 8)))[:, ::-1].copy()
NULL = np.random.default_rng(1).integers(0, 8, (50, 8)) / 8
EIGENVALUES = np.array([[0.0, 0.1, 0.4, 1.6, 1.9, 2.0]])


def _basis(x, y):
    merged = subspace.merge_subspaces({"a": x, "b": y})
    return jax.tree.map(np.asarray, merged) if isinstance(x.A, np.ndarray) else merged


def _canonical(x):
    return subspace.Basis.of_canonical(subspace.canonicalize(x))


FUNCTIONS = {
    "to_dense": (lambda x: x.to_dense(), (X,)),
    "algebra": (lambda x, y: (2 * x - y / 3 + x[0]).to_dense(), (X, Y)),
    "inner_product": (subspace.inner_product, (X, Y)),
    "frobenius_norm": (subspace.frobenius_norm, (X,)),
    "frobenius_norm of nothing": (lambda x: subspace.frobenius_norm(x - x), (X,)),
    "singular_values": (subspace.singular_values, (DEFICIENT,)),
    "canonicalize": (lambda x: subspace.canonicalize(x).to_dense(), (X,)),
    "effective_rank": (subspace.effective_rank, (X,)),
    "effective_rank of spectra": (subspace.effective_rank, (SPECTRA,)),
    "generalized_eigenvalues": (subspace.generalized_eigenvalues, (X, DEFICIENT)),
    "principal_angles": (lambda x, y: subspace.principal_angles(x, y, "input"), (DEFICIENT, Y)),
    "angles_of_eigenvalues": (subspace.angles_of_eigenvalues, (EIGENVALUES,)),
    "sizes of spectral_pattern": (lambda x: subspace.spectral_pattern(x, 2).sizes, (SPECTRA**9,)),
    "weights of shared_subspaces": (lambda x: subspace.shared_subspaces({"w": x}, 3)["w"].weights, (X,)),
    "shared_subspaces": (lambda x: subspace.shared_subspaces({"w": x}, 3)["w"].factors.to_dense(), (X,)),
    "subspace_stabilities": (lambda x: subspace.subspace_stabilities({"w": x}, 3)["w"].held_out_energy, (X,)),
    "null_percentile": (subspace.null_percentile, (SPECTRA, NULL)),
    "null_p_value": (lambda x, y: subspace.null_p_value(x, y, rounding=0.01), (SPECTRA, NULL)),
    "allocate_uniform": (lambda r: subspace.allocate_uniform(r, 4), (SPECTRA[0],)),
    "allocate_importance": (lambda r: subspace.allocate_importance(r, 4), (SPECTRA[0],)),
    "allocate_proportional": (lambda r: subspace.allocate_proportional(r, 4, 5), (SPECTRA[0],)),
    "Basis.of_canonical": (lambda x: (b := _canonical(x)).A @ b.A.mT, (X,)),
    "project": (lambda x, y: subspace.project(x, _canonical(y)) ** 2, (X, Y)),
    "expand": (lambda x, y: (b := _canonical(y)).expand(subspace.project(x, b)).to_dense(), (X, Y)),
    **{
        f"captured_energy, {side}": (
            lambda x, y, side=side: subspace.captured_energy(x, subspace.Basis.of_canonical(y), side),
            (X, subspace.canonicalize(Y)),
        )
        for side in (None, "output", "input")
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_gives_what_jax_gives(name):
    function, arguments = FUNCTIONS[name]
    found, expected = function(*arguments), function(*jax.tree.map(jnp.asarray, arguments))
    assert isinstance(found, np.ndarray | np.generic) and isinstance(expected, jax.Array)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_numpy_keeps_float64_where_jax_has_none():
    with jax.enable_x64(False):
        assert subspace.frobenius_norm(X).dtype == subspace.singular_values(X).dtype == np.float64
        assert subspace.frobenius_norm(X.to_numpy(np.float32)).dtype == np.float32
        device = jax.tree.map(jnp.asarray, X)
        assert device.to_numpy(np.float64).dtype == np.float64 and device.to_numpy().dtype == np.float32
    assert subspace.singular_values(X.to_numpy(np.float16)).dtype == np.float32


def test_angles_need_two_subspaces_of_one_dimension():
    with pytest.raises(ValueError, match="one dimension, got 5"):
        subspace.angles_of_eigenvalues(np.ones((2, 5)))
