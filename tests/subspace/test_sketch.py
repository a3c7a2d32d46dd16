"""Adapters added to a sketch of others, against a mining of all of them on dense matrices."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from subspace import LowRank
from subspace.crowd import Crowd
from subspace.errors import InputError
from subspace.shared import EPSILON, of_crowd
from subspace.sketch import bound, shared_of_sketch, sketch_of
from tests.subspace.oracle import dense, random_adapters, shared_subspace

N, M, RANK, DIM = 40, 30, 3, 2


def _collection(seed, k, common):
    """Adapters whose first two directions are in part common."""
    rng = np.random.default_rng(seed)
    A, B = random_adapters(seed, k, N, M, RANK)
    for x, size in ((A, common), (B, 1.0)):
        x[:, :, :DIM] = size * rng.standard_normal((x.shape[1], DIM)) + 0.3 * x[:, :, :DIM]
    return LowRank(A, B)


def _sketch(adapters, first, directions, alpha=1.0):
    old = LowRank(adapters.A[:first], adapters.B[:first])
    crowd = Crowd(old)
    weights = crowd.solve(np.ones(first), DIM, alpha, EPSILON, 1e-5, 100).weights
    sketch = sketch_of(old, weights, directions)
    for A, B in zip(adapters.A[first:], adapters.B[first:], strict=True):
        sketch = sketch.with_adapter(LowRank(A, B))
    return sketch


def _added(sketch, alpha=1.0, dim=DIM):
    """The factors, and the bound."""
    crowd = sketch.crowd()
    subspace, solution = of_crowd(crowd, dim, alpha, EPSILON, 1e-5, 100)
    return subspace.factors, bound(sketch, crowd, solution, alpha, EPSILON)


def _angle(factors, S):
    U, _, Vt = np.linalg.svd(S)
    pairs = ((factors.A, U[:, : factors.rank]), (factors.B, Vt[: factors.rank].T))
    return max(scipy.linalg.subspace_angles(np.asarray(a), b).max() for a, b in pairs)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(4, 14),
    common=st.floats(0, 3),
    alpha=st.sampled_from([0.7, 1.0, 2.0]),
    directions=st.sampled_from([2, 4, 8, 12]),
    more=st.integers(1, 3),
)
def test_no_mining_of_all_is_farther_away_than_the_bound(seed, k, common, alpha, directions, more):
    adapters = _collection(seed, k + more, common)
    factors, angle = _added(_sketch(adapters, k, directions, alpha), alpha)
    assert _angle(factors, shared_subspace(dense(adapters), DIM, alpha, EPSILON, 150).S) <= angle + 1e-7


@pytest.mark.parametrize(("alpha", "k", "directions"), [(1.0, 24, 16), (2.0, 8, 8)])
def test_the_bound_says_something_where_adapters_share_a_subspace(alpha, k, directions):
    adapters = _collection(0, k + 1, 2.0)
    factors, angle = _added(_sketch(adapters, k, directions, alpha), alpha)
    assert 0 < np.degrees(angle) < 2.5
    old, new = (shared_subspace(dense(adapters)[: k + i], DIM, alpha, EPSILON, 100).S for i in (0, 1))
    assert _angle(factors, new) < 0.05 * _angle(factors, old)


def test_a_sketch_of_everything_gives_what_a_mining_of_all_gives():
    adapters = _collection(1, 7, 1.0)
    sketch = _sketch(adapters, 6, 18)
    found = shared_of_sketch(sketch, DIM, tolerance=1e-12)
    expected = shared_subspace(dense(adapters), DIM, 1.0, EPSILON, 200)
    subspace = found.examined.subspace
    assert sketch.tail < 1e-12 and np.degrees(found.bound) < 1e-2
    np.testing.assert_allclose(dense(subspace.factors), expected.S, atol=1e-7)
    np.testing.assert_allclose(subspace.weights, expected.weights, atol=1e-8)
    np.testing.assert_allclose(subspace.residuals, expected.residuals, rtol=1e-8)
    np.testing.assert_allclose(dense(sketch.whole)[0], dense(adapters)[6], atol=1e-12)
    assert found.examined.stability is not None and found.examined.stability.held_out_share.shape == (7,)


def test_what_is_kept_is_what_its_names_say():
    adapters = LowRank(*random_adapters(3, 5, N, M, RANK))
    W, weights = dense(adapters), np.array([0.1, 0.3, 0.2, 0.2, 0.2])
    sketch = sketch_of(adapters, weights, 4)
    C = np.einsum("k,knm->nm", weights, W)
    U, sigma, Vt = np.linalg.svd(C)
    np.testing.assert_allclose(np.abs(U[:, :4].T @ sketch.outputs), np.eye(4), atol=1e-6)
    assert sketch.tail == pytest.approx(sigma[4])
    np.testing.assert_allclose(sketch.energy, np.sum(W**2, axis=(1, 2)))
    P, Q = U[:, :4] @ U[:, :4].T, Vt[:4].T @ Vt[:4]
    E = W - P @ W @ Q
    near = np.concatenate([P @ E, E @ Q], axis=1)
    assert sketch.spread == pytest.approx(np.linalg.norm(E.reshape(5, -1), 2), rel=1e-6)
    assert sketch.near == pytest.approx(np.linalg.norm(near.reshape(5, -1), 2), rel=1e-6)


@pytest.mark.parametrize("shape", [(N, M), (M, N)])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("lacking", ["input factors are one", "two adapters are zero"])
def test_where_the_mean_has_fewer_directions_than_are_kept_the_bound_holds(shape, alpha, lacking):
    rng = np.random.default_rng(4)
    A, B = random_adapters(4, 7, *shape, RANK)
    A[..., :DIM] += 3 * rng.standard_normal((shape[0], DIM))
    if lacking == "input factors are one":
        B = np.broadcast_to(B[:1], B.shape)
    else:
        A[2:4] = 0
    adapters = LowRank(A, B)
    sketch = _sketch(adapters, 6, 12, alpha)
    for Q in (sketch.outputs, sketch.inputs):
        np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-9)
    factors, angle = _added(sketch, alpha)
    away = _angle(factors, shared_subspace(dense(adapters), DIM, alpha, EPSILON, 300).S)
    assert away <= angle + 1e-7 and np.degrees(away) < 3


def test_without_a_gap_nothing_is_claimed():
    _, angle = _added(_sketch(_collection(2, 9, 2.0), 8, 12), dim=3)
    assert angle == pytest.approx(np.pi / 2)


def test_what_does_not_fit_is_refused():
    sketch = _sketch(_collection(0, 4, 1.0), 4, 6)
    with pytest.raises(InputError, match=r"update is \(4, 5\), the sketch is of \(40, 30\)"):
        sketch.with_adapter(LowRank(np.zeros((4, 1)), np.zeros((5, 1))))
    with pytest.raises(InputError, match="NaN"):
        sketch.with_adapter(LowRank(np.full((N, 1), np.nan), np.zeros((M, 1))))
    with pytest.raises(InputError, match="dim must be 1 to 6"):
        shared_of_sketch(sketch, 7)
