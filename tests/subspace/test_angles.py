import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from subspace import LowRank, generalized_eigenvalues, generalized_eigh, pairwise_eigenvalues, principal_angles
from tests.subspace.oracle import dense, random_adapters


def _subspace(seed, n, m, d, dtype="float64"):
    A, B = random_adapters(seed, 1, n, m, d)
    return LowRank(jnp.asarray(A[0], dtype), jnp.asarray(B[0], dtype))


def _with_angles(angles, n=40, m=30, seed=0):
    """Two subspaces whose column spaces have exactly these principal angles."""
    rng = np.random.default_rng(seed)
    d = len(angles)
    Q = np.linalg.qr(rng.standard_normal((n, 2 * d)))[0]
    U, U_prime = Q[:, :d], Q[:, :d] * np.cos(angles) + Q[:, d:] * np.sin(angles)
    mix, mix_prime = (rng.standard_normal((d, d)) + 2 * np.eye(d) for _ in range(2))
    V, V_prime = (rng.standard_normal((m, d)) for _ in range(2))
    return LowRank(jnp.asarray(U @ mix), jnp.asarray(V)), LowRank(
        jnp.asarray(U_prime @ mix_prime), jnp.asarray(V_prime)
    )


def _dense_pencil(S, S_prime):
    """Eq. 5 as printed, in dense float64, restricted to the row spaces, where its right-hand side is regular."""
    X, Y = dense(S), dense(S_prime)
    V, W = (scipy.linalg.orth(Z.T, rcond=1e-10) for Z in (X, Y))
    X, Y = X @ V, Y @ W
    M = np.block([[X.T @ X, -X.T @ Y], [-Y.T @ X, Y.T @ Y]])
    N = scipy.linalg.block_diag(X.T @ X, Y.T @ Y)
    return scipy.linalg.eigh(M, N, eigvals_only=True)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_generalized_eigh_equals_scipy(batch, dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((*batch, 6, 6)), rng.standard_normal((*batch, 6, 9))
    M, N = X + np.swapaxes(X, -1, -2), Y @ np.swapaxes(Y, -1, -2) / 9 + np.eye(6)
    values, vectors = generalized_eigh(jnp.asarray(M, dtype), jnp.asarray(N, dtype))
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    for i in np.ndindex(batch):
        expected = scipy.linalg.eigh(M[i], N[i], eigvals_only=True)
        np.testing.assert_allclose(values[i], expected, atol=tolerance)
        V = np.asarray(vectors[i], np.float64)
        np.testing.assert_allclose(M[i] @ V, N[i] @ V * np.asarray(values[i]), atol=5 * tolerance)
        np.testing.assert_allclose(V.T @ N[i] @ V, np.eye(6), atol=5 * tolerance)


def test_generalized_eigh_reads_lower_triangles_only():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((5, 5))
    M, N = X + X.T, X @ X.T + np.eye(5)
    noisy = [Z + 100 * np.triu(np.ones((5, 5)), 1) for Z in (M, N)]
    np.testing.assert_allclose(generalized_eigh(*map(jnp.asarray, noisy))[0], generalized_eigh(M, N)[0], atol=1e-10)


@pytest.mark.parametrize(("d", "d_prime"), [(4, 4), (3, 6), (6, 3), (1, 1)])
@pytest.mark.parametrize("side", ["output", "input"])
def test_eigenvalues_equal_dense_pencil_and_angles(d, d_prime, side, dtype, tolerance):
    S, S_prime = _subspace(0, 20, 30, d, dtype), _subspace(1, 20, 30, d_prime, dtype)
    values = generalized_eigenvalues(S, S_prime, side)
    assert values.shape == (d + d_prime,) and values.dtype == dtype
    own, other = (S, S_prime) if side == "output" else (S.mT, S_prime.mT)
    np.testing.assert_allclose(values, _dense_pencil(own, other), atol=tolerance)
    theta = np.asarray(principal_angles(S, S_prime, side), np.float64)
    from_angles = np.sort([*(1 - np.cos(theta)), *(1 + np.cos(theta)), *np.ones(abs(d - d_prime))])
    np.testing.assert_allclose(values, from_angles, atol=tolerance)


@pytest.mark.parametrize("side", ["output", "input"])
def test_principal_angles_equal_scipy(side, dtype, tolerance):
    S, S_prime = _subspace(0, 50, 40, 5, dtype), _subspace(1, 50, 40, 3, dtype)
    factors = (S.A, S_prime.A) if side == "output" else (S.B, S_prime.B)
    expected = scipy.linalg.subspace_angles(*(np.asarray(x, np.float64) for x in factors))
    np.testing.assert_allclose(principal_angles(S, S_prime, side), expected[::-1], atol=tolerance)


def test_planted_angles_small_and_large_are_recovered():
    angles = np.array([0, 1e-9, 1e-5, 1e-3, 0.3, 0.8, 1.5, np.pi / 2])
    S, S_prime = _with_angles(angles)
    np.testing.assert_allclose(principal_angles(S, S_prime), angles, atol=1e-13, rtol=1e-6)
    values = generalized_eigenvalues(S, S_prime)
    np.testing.assert_allclose(values, np.sort([*(1 - np.cos(angles)), *(1 + np.cos(angles))]), atol=1e-13)


def test_small_angles_in_float32():
    angles = np.array([0, 1e-4, 1e-3, 0.5])
    S, S_prime = (jax.tree.map(lambda x: x.astype(jnp.float32), x) for x in _with_angles(angles))
    np.testing.assert_allclose(principal_angles(S, S_prime), angles, atol=3e-6)


def test_identical_and_orthogonal():
    S = _subspace(0, 30, 20, 4)
    np.testing.assert_allclose(generalized_eigenvalues(S, -3.0 * S), [0] * 4 + [2] * 4, atol=1e-12)
    Q = jnp.linalg.qr(jnp.asarray(np.random.default_rng(0).standard_normal((30, 8))))[0]
    orthogonal = [LowRank(Q[:, :4], S.B), LowRank(Q[:, 4:], S.B)]
    np.testing.assert_allclose(generalized_eigenvalues(*orthogonal), np.ones(8), atol=1e-12)
    np.testing.assert_allclose(principal_angles(*orthogonal), np.full(4, np.pi / 2), atol=1e-12)
    np.testing.assert_allclose(principal_angles(*orthogonal, side="input"), 0, atol=1e-7)


def test_rank_deficient_direction_is_orthogonal_to_everything(dtype, tolerance):
    S, S_prime = _subspace(0, 30, 20, 4, dtype), _subspace(1, 30, 20, 3, dtype)
    deficient = LowRank(jnp.asarray(S.A).at[:, 3].set(-2 * S.A[:, 0]), S.B)  # rank 3 in four columns
    expected = np.sort([*_dense_pencil(deficient, S_prime), 1.0])
    np.testing.assert_allclose(generalized_eigenvalues(deficient, S_prime), expected, atol=tolerance)
    own = np.asarray(S.A[:, :3], np.float64)
    angles = scipy.linalg.subspace_angles(own, np.asarray(S_prime.A, np.float64))[::-1]
    np.testing.assert_allclose(principal_angles(deficient, S_prime), angles, atol=tolerance)
    np.testing.assert_allclose(
        principal_angles(deficient, S)[-1:], [np.pi / 2], atol=tolerance
    )  # the direction it lacks
    np.testing.assert_array_equal(generalized_eigenvalues(0 * S, S_prime), np.ones(7))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-6, 6))
def test_invariances(seed, log_scale):
    """Scaling S, A X and B X^-T, and rotating both output spaces leave the eigenvalues as they are."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        S, S_prime = _subspace(seed, 16, 12, 3), _subspace(seed + 1, 16, 12, 3)
        expected = generalized_eigenvalues(S, S_prime)
        X = rng.standard_normal((3, 3)) + 2 * np.eye(3)
        rotation = np.linalg.qr(rng.standard_normal((16, 16)))[0]
        mixed = LowRank(rotation @ S.A @ X, S.B @ np.linalg.inv(X).T) * 10**log_scale
        turned = LowRank(rotation @ S_prime.A, S_prime.B)
        np.testing.assert_allclose(generalized_eigenvalues(mixed, turned), expected, atol=1e-9)
        np.testing.assert_allclose(generalized_eigenvalues(turned, mixed), expected, atol=1e-9)
        assert np.all(np.diff(expected) >= 0) and expected[0] >= 0 and expected[-1] <= 2
        np.testing.assert_allclose(expected + expected[::-1], 2, atol=1e-9)


@pytest.mark.parametrize("side", ["output", "input"])
def test_pairwise_equals_single_pairs(side):
    def stack(seed):
        return LowRank(*map(jnp.asarray, random_adapters(seed, 3, 20, 30, 4)))

    subspaces = {name: stack(i) for i, name in enumerate(["texture", "geometry", "camera", "lighting"])}
    values = pairwise_eigenvalues(subspaces, side)
    assert list(values) == list(itertools.combinations(subspaces, 2))
    for (a, b), found in values.items():
        np.testing.assert_allclose(found, generalized_eigenvalues(subspaces[a], subspaces[b], side), atol=1e-12)
        np.testing.assert_allclose(
            found[1], generalized_eigenvalues(subspaces[a][1], subspaces[b][1], side), atol=1e-12
        )


def test_gradient_of_the_distance_points_apart():
    S, S_prime = _with_angles(np.array([0.3, 0.7, 1.1]))

    def distance(A):
        return generalized_eigenvalues(LowRank(A, S.B), S_prime)[0]

    gradient = jax.grad(distance)(S.A)
    direction = np.random.default_rng(0).standard_normal(S.A.shape)
    numeric = (distance(S.A + 1e-6 * direction) - distance(S.A - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * direction), numeric, rtol=1e-5)


@pytest.mark.wrong_types
def test_bad_input_is_named():
    S = _subspace(0, 20, 30, 3)
    with pytest.raises(ValueError, match="S and S_prime have 20 and 21 outputs"):
        generalized_eigenvalues(S, _subspace(0, 21, 30, 3))
    with pytest.raises(ValueError, match="S and S_prime have 30 and 31 inputs"):
        principal_angles(S, _subspace(0, 20, 31, 3), side="input")
    with pytest.raises(ValueError, match='side must be "output" or "input", got \'left\''):
        generalized_eigenvalues(S, S, "left")  # type: ignore[arg-type]
    stack = LowRank(np.ones((2, 4, 1)), np.array([[[1.0], [1.0]], [[np.nan], [1.0]]]))
    with pytest.raises(ValueError, match="S_prime: B has NaN or infinity in layer 1"):
        generalized_eigenvalues(stack[0], stack)
    with pytest.raises(ValueError, match=r"at least two attributes to compare, got \['texture'\]"):
        pairwise_eigenvalues({"texture": S})
    with pytest.raises(ValueError, match=r"texture .* and camera .* must have equal shapes"):
        pairwise_eigenvalues({"texture": S, "camera": _subspace(0, 20, 30, 4)})
    with pytest.raises(ValueError, match="positive definite"):
        generalized_eigh(np.eye(2), -np.eye(2))
    with pytest.raises(ValueError, match=r"got M \(2, 2\) and N \(3, 3\)"):
        generalized_eigh(np.eye(2), np.eye(3))
