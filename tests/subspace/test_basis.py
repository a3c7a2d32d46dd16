import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from subspace import (
    Basis,
    LowRank,
    canonicalize,
    captured_energy,
    frobenius_norm,
    merge_subspaces,
    project,
    shared_subspace,
)
from tests.subspace.oracle import dense, random_adapters


def _subspace(seed, rank=3, n=20, m=15, layers=(2,), dtype="float64"):
    return LowRank(*(jnp.asarray(x, dtype) for x in random_adapters(seed, *layers, n, m, rank)))


def _assert_frame(columns, ranks, tolerance):
    for frame, rank in zip(columns, ranks, strict=True):
        gram = np.asarray(frame.T @ frame, np.float64)
        expected = np.diag((np.arange(frame.shape[1]) < int(rank)).astype(float))
        np.testing.assert_allclose(gram, expected, atol=tolerance)


def test_merged_basis_spans_exactly_the_union(dtype, tolerance):
    parts = {"texture": _subspace(0, dtype=dtype), "camera": _subspace(1, rank=4, dtype=dtype)}
    basis = merge_subspaces(parts)
    assert basis.A.shape == (2, 20, 7) and basis.B.shape == (2, 15, 7)
    assert basis.output_rank.tolist() == basis.input_rank.tolist() == [7, 7]
    for columns, ranks in ((basis.A, basis.output_rank), (basis.B, basis.input_rank)):
        _assert_frame(columns, ranks, tolerance)
    for layer in range(2):
        for side, own in (("A", basis.A), ("B", basis.B)):
            union = np.concatenate([getattr(part, side)[layer] for part in parts.values()], axis=1)
            angles = scipy.linalg.subspace_angles(np.asarray(own[layer], np.float64), union.astype(np.float64))
            assert np.max(angles) < 10 * tolerance


def test_shared_directions_are_counted_once():
    """Two attributes that share two of three output directions: D = 4 on that side, 6 on the other."""
    first, second = _subspace(0, layers=(1,)), _subspace(1, layers=(1,))
    second = LowRank(jnp.asarray(second.A).at[..., :2].set(first.A[..., :2]), second.B)
    basis = merge_subspaces({"a": first, "b": second})
    assert (basis.output_rank.tolist(), basis.input_rank.tolist()) == ([4], [6])
    np.testing.assert_allclose(basis.output_spectrum[0, :2], np.sqrt(2), atol=1e-10)
    assert not np.any(basis.A[0, :, 4:])
    for part in (first, second):
        np.testing.assert_allclose(captured_energy(part, basis), 1, atol=1e-12)


def test_ranks_choose_leading_directions_per_attribute_and_layer():
    parts = {"a": _subspace(0), "b": _subspace(1)}
    U, _, Vt = np.linalg.svd(dense(parts["a"]))
    basis = merge_subspaces(parts, ranks={"a": jnp.array([1, 3]), "b": 2})
    assert basis.A.shape[-1] == 5 and basis.output_rank.tolist() == [3, 5]
    V = Vt.swapaxes(1, 2)
    for layer, used in ((0, 1), (1, 3)):
        kept = [np.linalg.norm(basis.A[layer].T @ U[layer, :, j]) for j in range(3)]
        np.testing.assert_allclose(kept[:used], 1, atol=1e-10)
        assert max(kept[used:], default=0) < 0.999
        np.testing.assert_allclose(np.linalg.norm(basis.B[layer].T @ V[layer, :, 0]), 1, atol=1e-10)
    assert merge_subspaces(parts, ranks=2).output_rank.tolist() == [4, 4]


def test_dim_caps_both_sides():
    basis = merge_subspaces({"a": _subspace(0), "b": _subspace(1)}, dim=4)
    assert (basis.A.shape[-1], basis.B.shape[-1]) == (4, 4)
    _assert_frame(basis.A, basis.output_rank, 1e-10)


def test_more_columns_than_the_space_has_dimensions():
    parts = {str(i): _subspace(i, rank=4, n=10, m=30) for i in range(3)}
    basis = merge_subspaces(parts)
    assert basis.A.shape == (2, 10, 10) and basis.B.shape == (2, 30, 12)
    assert (basis.output_rank.tolist(), basis.input_rank.tolist()) == ([10, 10], [12, 12])
    _assert_frame(basis.A, basis.output_rank, 1e-10)


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("scale", [1e-20, 1.0])
def test_columns_of_rounding_are_no_directions(as_array, scale, dtype):
    """Of an update of rank 2 that is written with four columns, and of one that is zero."""
    A, B = (np.concatenate([x, x], -1).astype(dtype) for x in random_adapters(0, 2, 50, 40, 2))
    A = A * np.asarray([scale, 0], dtype)[:, None, None]
    basis = Basis.of_canonical(canonicalize(LowRank(as_array(A), as_array(B))))
    assert basis.output_rank.tolist() == basis.input_rank.tolist() == [2, 0]
    for side, columns in ((A, basis.A), (B, basis.B)):
        assert columns.dtype == dtype and not np.any(columns[0, :, 2:]) and not np.any(columns[1])
        angles = scipy.linalg.subspace_angles(np.asarray(columns[0, :, :2], np.float64), side[0, :, :2].astype(float))
        assert angles.max() < 1e-4
    half = canonicalize(LowRank(*(np.float32(x) for x in random_adapters(1, 2, 50, 40, 3))))
    half = Basis.of_canonical(LowRank(as_array(half.A, "bfloat16"), as_array(half.B, "bfloat16")))
    assert half.output_rank.tolist() == [3, 3]


def test_columns_of_rounding_are_none_in_another_type_either():
    """Three adapters of rank 4 with one column space share 4 directions on each side, whatever is asked for."""
    A, B = random_adapters(0, 3, 64, 48, 4)
    mined = shared_subspace(
        LowRank(*(np.float32(x) for x in (np.stack([A[:1]] * 3), B[:, None]))), 8
    ).factors.to_numpy()
    for factors, computed_in in ((mined, None), (mined.to_numpy(np.float64), np.float32)):
        basis = Basis.of_canonical(factors, computed_in)
        assert basis.output_rank.tolist() == basis.input_rank.tolist() == [4] and basis.A.dtype == factors.A.dtype


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_projection_is_the_closest_update(seed):
    with jax.enable_x64(True):
        basis = merge_subspaces({"a": _subspace(seed), "b": _subspace(seed + 1)})
        delta = _subspace(seed + 2, rank=5)
        M = project(delta, basis)
        X, A, B = dense(delta), np.asarray(basis.A), np.asarray(basis.B)
        for layer in range(2):
            design = np.kron(A[layer], B[layer])
            best = np.linalg.lstsq(design, X[layer].ravel(), rcond=None)[0].reshape(M.shape[1:])
            np.testing.assert_allclose(M[layer], best, atol=1e-9)
        inside = basis.expand(M)
        np.testing.assert_allclose(project(inside, basis), M, atol=1e-9)
        residual = frobenius_norm(delta - inside) ** 2 / frobenius_norm(delta) ** 2
        np.testing.assert_allclose(captured_energy(delta, basis), 1 - residual, atol=1e-9)


def test_captured_energy_of_chance():
    """A random basis captures about D_output · D_input / (n · m)."""
    basis = merge_subspaces({"a": _subspace(0, rank=8, n=80, m=60, layers=(200,))})
    energy = captured_energy(_subspace(1, rank=4, n=80, m=60, layers=(200,)), basis)
    assert float(jnp.mean(energy)) == pytest.approx(8 * 8 / (80 * 60), rel=0.1)
    assert float(captured_energy(0 * _subspace(1, n=80, m=60, layers=(200,)), basis).max()) == 0


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_an_update_of_rank_zero_has_no_energy(as_array):
    nothing = LowRank(as_array(np.zeros((2, 20, 0))), as_array(np.zeros((2, 15, 0))))
    basis = jax.tree.map(as_array, merge_subspaces({"a": _subspace(0)}))
    np.testing.assert_array_equal(frobenius_norm(nothing), [0, 0])
    for side in (None, "output", "input"):
        np.testing.assert_array_equal(captured_energy(nothing, basis, side), [0, 0])


@pytest.mark.parametrize("scale", [1e-25, 1e15])
def test_captured_energy_has_no_unit(scale):
    basis = merge_subspaces({"a": _subspace(0, dtype="float32")})
    x = _subspace(1, dtype="float32")
    np.testing.assert_allclose(captured_energy(scale * x, basis), captured_energy(x, basis), rtol=1e-5)


def test_jit_and_gradient_with_respect_to_M():
    parts = {"a": _subspace(0), "b": _subspace(1)}
    basis = jax.jit(merge_subspaces)(parts)
    np.testing.assert_allclose(basis.output_spectrum, merge_subspaces(parts).output_spectrum, atol=1e-12)
    target = jnp.asarray(np.random.default_rng(0).standard_normal((2, 20, 15)))
    gradient = jax.grad(lambda M: jnp.sum(target * basis.expand(M).to_dense()))(jnp.zeros((2, 6, 6)))
    np.testing.assert_allclose(gradient, basis.A.mT @ target @ basis.B, atol=1e-10)


@pytest.mark.wrong_types
def test_bad_input_is_named():
    parts = {"a": _subspace(0), "b": _subspace(1)}
    for subspaces, options, message in (
        ({}, {}, "subspaces is empty"),
        ({"a": _subspace(0), "b": _subspace(0, n=21)}, {}, "a and b have 20 and 21 outputs"),
        ({"a": _subspace(0), "b": _subspace(0, m=14)}, {}, "a and b have 15 and 14 inputs"),
        ({"a": _subspace(0), "b": _subspace(0, layers=(3,))}, {}, "have different layers"),
        (parts, {"ranks": 4}, "ranks of a must lie between 1 and 3"),
        (parts, {"ranks": {"a": 1}}, r"ranks must name the attributes \['a', 'b'\]"),
        (parts, {"ranks": {"a": jnp.array([-1, 2]), "b": 1}}, "ranks of a must lie between"),
        (parts, {"dim": 0}, "dim must be positive"),
        ({"a": parts["a"] * jnp.array([1.0, jnp.nan])}, {}, "a: A has NaN or infinity in layer 1"),
    ):
        with pytest.raises(ValueError, match=message):
            merge_subspaces(subspaces, **options)
    with pytest.raises(ValueError, match="does not fit a basis of 20×15"):
        project(_subspace(0, n=21), merge_subspaces(parts))
    with pytest.raises(ValueError, match='side must be "output" or "input", got \'outputs\''):
        captured_energy(parts["a"], merge_subspaces(parts), "outputs")  # pyright: ignore[reportArgumentType]
    for dim in (0, -1):
        with pytest.raises(ValueError, match=f"dim must be positive, got {dim}"):
            merge_subspaces(parts).narrowed(dim)
