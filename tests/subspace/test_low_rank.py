import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subspace import (
    Basis,
    LowRank,
    canonicalize,
    captured_energy,
    frobenius_norm,
    inner_product,
    merge_subspaces,
    principal_angles,
    project,
    shared_subspace,
    shared_subspaces,
    singular_values,
)
from subspace.errors import InputError
from tests.subspace.oracle import CASES, dense, random_adapters


def _stack(seed, n=12, m=9, r=3, layers=(2,), dtype="float64", xp=jnp):
    A, B = random_adapters(seed, *layers[:1], n, m, r, layers=layers[1:])
    return LowRank(xp.asarray(A, dtype), xp.asarray(B, dtype))


def test_it_is_printed_by_its_shapes():
    x = _stack(0, layers=(4, 2), dtype="float32")
    assert repr(x) == "LowRank(A=float32[4,2,12,3], B=float32[4,2,9,3])"
    shared = repr(shared_subspace(x, dim=2))
    assert shared.startswith(
        "SharedSubspace(factors=LowRank(A=float32[2,12,2], B=float32[2,9,2]), weights=float32[2,4]"
    )
    assert len(shared) < 400 and repr(jax.eval_shape(lambda: x)) == repr(x)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, s: captured_energy(x[0], s.factors), r"basis must be a Basis, got LowRank; .*Basis\.of_canonical"),
        (lambda x, s: project(x[0], s), "basis must be a Basis, got SharedSubspace"),
        (
            lambda x, s: captured_energy(s, Basis.of_canonical(s.factors)),
            "delta must be a LowRank, .*: give its .factors",
        ),
        (lambda x, s: principal_angles(s, s.factors), "must be a LowRank, got SharedSubspace: give its .factors"),
        (lambda x, s: shared_subspaces([x, x], dim=2), "adapters must be a mapping from names to LowRank, got list"),
        (lambda x, s: merge_subspaces([s.factors]), "subspaces must be a mapping from names to LowRank, got list"),
    ],
)
def test_what_stands_in_the_wrong_place_is_named(call, message):
    """Each has A and B, or nearly, and would give wrong numbers or an AttributeError."""
    x = _stack(0, layers=(4, 2), dtype="float32")
    with pytest.raises(InputError, match=message):
        call(x, shared_subspace(x, dim=2))


def test_tensors_of_pytorch_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"got PyTorch's tensors: call \.numpy\(\)"):
        LowRank(torch.zeros(3, 1), torch.zeros(2, 1))


def test_is_a_pytree_with_shape_and_rank():
    x = _stack(0, layers=(4, 2))
    assert (x.rank, x.shape, x.dtype) == (3, (4, 2, 12, 9), jnp.float64)
    assert (x[1].shape, x[1, 0].shape, x.mT.shape) == ((2, 12, 9), (12, 9), (4, 2, 9, 12))
    leaves, tree = jax.tree.flatten(x)
    assert len(leaves) == 2 and jax.tree.unflatten(tree, leaves).shape == x.shape
    assert jax.tree.map(jnp.shape, x).A == (4, 2, 12, 3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5), st.floats(-1e3, 1e3))
def test_algebra_equals_dense(seed, r, r_prime, factor):
    with jax.enable_x64(True):
        # NumPy's arrays need no compilation, so that ranks may be drawn; test_numpy.py compares JAX's with them
        x, y = _stack(seed, r=r, xp=np), _stack(seed + 1, r=r_prime, xp=np)
        X, Y = dense(x), dense(y)
        np.testing.assert_allclose(x.to_dense(), X, rtol=1e-12, atol=1e-12)
        assert (x + y).rank == r + r_prime
        np.testing.assert_allclose(dense(x + y), X + Y, atol=1e-10)
        np.testing.assert_allclose(dense(x - 2 * y), X - 2 * Y, atol=1e-10)
        np.testing.assert_allclose(dense(-x), -X)
        np.testing.assert_allclose(dense(factor * x), factor * X, atol=1e-9)
        np.testing.assert_allclose(dense(np.float64(factor) * x), factor * X, atol=1e-9)
        np.testing.assert_allclose(dense(x * np.array([2.0, 3.0])), np.array([2.0, 3.0])[:, None, None] * X, atol=1e-10)
        np.testing.assert_allclose(dense(x / 4), X / 4, atol=1e-10)
        np.testing.assert_allclose(dense(x + y[0]), X + Y[0], atol=1e-10)
        np.testing.assert_allclose(dense(x.mT), X.swapaxes(1, 2), atol=1e-10)
        np.testing.assert_allclose(inner_product(x, y), np.sum(X * Y, axis=(1, 2)), atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_norm_spectrum_and_canonical_form(case, dtype, tolerance):
    A, B, _ = CASES[case]
    x = LowRank(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    X = dense(x)
    sigma = np.linalg.svd(X, compute_uv=False)
    largest = np.maximum(sigma[:, :1], 1e-300)
    p = min(*x.shape[-2:], x.rank)
    np.testing.assert_allclose(frobenius_norm(x), np.linalg.norm(X, axis=(1, 2)), rtol=tolerance)
    assert np.max(np.abs(np.asarray(singular_values(x)) - sigma[:, :p]) / largest) <= tolerance
    canonical = canonicalize(x)
    assert canonical.A.shape == (*x.A.shape[:-1], p) and canonical.dtype == dtype
    assert np.max(np.abs(dense(canonical) - X) / largest[..., None]) <= tolerance
    for factor in (canonical.A, canonical.B):
        gram = np.asarray(factor, np.float64).swapaxes(1, 2) @ np.asarray(factor, np.float64)
        diagonal = np.eye(p) * sigma[:, None, :p]
        assert np.max(np.abs(gram - diagonal) / largest[..., None]) <= tolerance


def test_canonical_form_is_the_same_for_mixed_factors():
    x = _stack(3)
    X = np.random.default_rng(0).standard_normal((3, 3)) + 2 * np.eye(3)
    a, b = canonicalize(x), canonicalize(LowRank(x.A @ X, x.B @ np.linalg.inv(X).T))
    np.testing.assert_allclose(np.abs(a.A), np.abs(b.A), atol=1e-9)
    np.testing.assert_allclose(np.abs(a.B), np.abs(b.B), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32"])
def test_norm_of_a_small_difference_keeps_its_digits(dtype):
    """Through Gram matrices, float32 would leave no digit of a difference of 1e-4."""
    x = _stack(5, n=100, m=80, r=4, dtype=dtype)
    y = LowRank(x.A * jnp.float32(1 + 1e-4), x.B)
    expected = np.linalg.norm(dense(y) - dense(x), axis=(1, 2))
    np.testing.assert_allclose(frobenius_norm(y - x), expected, rtol=1e-2)
    assert float(jnp.max(frobenius_norm(x - x) / frobenius_norm(x))) < 2e-6


def test_gradient_of_the_norm_equals_the_dense_one_and_is_zero_at_zero():
    x = LowRank(*map(jnp.asarray, (a[0] for a in random_adapters(6, 1, 12, 9, 3))))
    grad = jax.grad(frobenius_norm)(x)
    expected = jax.grad(lambda x: jnp.sqrt(jnp.sum(x.to_dense() ** 2)))(x)
    np.testing.assert_allclose(grad.A, expected.A, rtol=1e-10)
    np.testing.assert_allclose(grad.B, expected.B, rtol=1e-10)
    zero = jax.grad(frobenius_norm)(LowRank(x.A, 0 * x.B))
    assert not np.any(zero.A) and not np.any(zero.B)


def test_gradient_through_canonical_factors():
    x = LowRank(*map(jnp.asarray, (a[0] for a in random_adapters(7, 1, 12, 9, 3))))
    weight = jnp.asarray(np.random.default_rng(1).standard_normal((12, 9)))
    grad = jax.grad(lambda x: jnp.sum(weight * canonicalize(x).to_dense()))(x)
    np.testing.assert_allclose(grad.A, weight @ x.B, atol=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(dtype):
    x = _stack(8, dtype=dtype)
    large = LowRank(100 * x.A, 100 * x.B)
    inner, expected = inner_product(large, large), np.sum(dense(large) ** 2, axis=(1, 2))
    assert inner.dtype == jnp.float32
    np.testing.assert_allclose(inner, expected, rtol=1e-5)
    assert canonicalize(x).dtype == singular_values(x).dtype == frobenius_norm(x).dtype == jnp.float32


@pytest.mark.wrong_types
def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"got A \(3, 2\) and B \(4, 3\)"):
        LowRank(np.ones((3, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="equal leading axes"):
        LowRank(np.ones((2, 3, 2)), np.ones((3, 4, 2)))
    with pytest.raises(ValueError, match=r"cannot add updates of \(12, 9\) and \(12, 8\)"):
        _ = _stack(0) + _stack(0, m=8)
    with pytest.raises(ValueError, match="no inner product"):
        inner_product(_stack(0), _stack(0, n=11))
    with pytest.raises(TypeError):
        _ = _stack(0) + 1.0  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = _stack(0) * _stack(0)
