import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from subspace import (
    Basis,
    LowRank,
    captured_energy,
    examine_subspaces,
    grouping,
    shared_subspace,
    shared_subspaces,
    subspace_stabilities,
    subspace_stability,
)
from subspace import shared as shared_module
from subspace import stability as stability_module
from subspace.stability import FOLDS, LEAVE_ONE_OUT
from tests.subspace.oracle import dense, planted_adapters, random_adapters


def _adapters(arrays, dtype="float64"):
    return LowRank(*(jnp.asarray(x, dtype) for x in arrays))


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_leave_one_out_equals_solving_without_each(alpha, dtype, tolerance):
    adapters = _adapters(random_adapters(0, 5, 30, 25, 3, layers=(2,)), dtype)
    options = {"alpha": alpha, "max_iterations": 10, "tolerance": 0.0}
    found = subspace_stability(adapters, 3, **options)
    assert found.output_angles.shape == found.input_angles.shape == (2, 5, 3)
    assert found.held_out_energy.shape == (2, 5) and found.output_angles.dtype == dtype
    whole = shared_subspace(adapters, 3, **options).factors
    for i in range(5):
        keep = np.arange(5) != i
        part = shared_subspace(LowRank(adapters.A[keep], adapters.B[keep]), 3, **options).factors
        for layer in range(2):
            for side, angles in (("A", found.output_angles), ("B", found.input_angles)):
                a, b = (np.asarray(getattr(x, side)[layer], np.float64) for x in (whole, part))
                expected = scipy.linalg.subspace_angles(a, b)[::-1]
                np.testing.assert_allclose(angles[layer, i], expected, atol=100 * tolerance)
            U, V = (np.linalg.qr(np.asarray(x[layer], np.float64))[0] for x in (part.A, part.B))
            W = dense(adapters)[i, layer]
            energy = np.linalg.norm(U.T @ W @ V) ** 2 / np.linalg.norm(W) ** 2
            np.testing.assert_allclose(found.held_out_energy[layer, i], energy, atol=100 * tolerance)


def test_tells_shared_from_private():
    *planted, _, _ = planted_adapters(0, 6, 60, 50, 4)
    shared = subspace_stability(_adapters(planted), 4)
    private = subspace_stability(_adapters(random_adapters(0, 6, 60, 50, 4)), 4)
    assert np.degrees(shared.output_angles).max() < 5 and shared.held_out_energy.min() > 0.8
    assert np.degrees(private.output_angles).max() > 45
    assert float(shared.random_energy) == pytest.approx(16 / 3000)
    assert private.held_out_energy.mean() < 5 * float(private.random_energy)


def test_bootstrap_is_reproducible_and_equals_weighted_duplicates():
    adapters = _adapters(random_adapters(0, 4, 30, 25, 3))
    key = jax.random.key(3)
    options = {"max_iterations": 10, "tolerance": 0.0}
    found = subspace_stability(adapters, 3, bootstrap_samples=6, key=key, **options)
    again = subspace_stability(adapters, 3, bootstrap_samples=6, key=key, **options)
    np.testing.assert_array_equal(found.output_angles, again.output_angles)
    assert found.output_angles.shape == (6, 3)
    whole = shared_subspace(adapters, 3, **options).factors
    for draw, angles in zip(np.asarray(jax.random.randint(key, (6, 4), 0, 4)), found.output_angles, strict=True):
        part = shared_subspace(LowRank(adapters.A[draw], adapters.B[draw]), 3, **options).factors
        expected = scipy.linalg.subspace_angles(np.asarray(whole.A), np.asarray(part.A))[::-1]
        np.testing.assert_allclose(angles, expected, atol=1e-8)


def test_bad_input():
    adapters = _adapters(random_adapters(0, 3, 30, 25, 3))
    with pytest.raises(
        ValueError, match=r"rank available in adapters less one: min\(k·r, n, m\) = min\(2·3, 30, 25\) = 6"
    ):
        subspace_stability(adapters, 7)
    with pytest.raises(ValueError, match="holds one adapter"):
        subspace_stability(LowRank(adapters.A[:1], adapters.B[:1]), 2)
    with pytest.raises(ValueError, match="key is needed"):
        subspace_stability(adapters, 2, bootstrap_samples=3)
    with pytest.raises(ValueError, match="bootstrap_samples must not be negative"):
        subspace_stability(adapters, 2, bootstrap_samples=-1)


@pytest.mark.slow
def test_many_matrices_at_once_equal_each_alone():
    stacks = {
        "wide": _adapters(random_adapters(0, 4, 20, 35, 3, layers=(2,))),
        "small": _adapters(random_adapters(1, 4, 5, 6, 3)),  # has no room for the others' dimension
        "tall": _adapters(random_adapters(2, 4, 40, 8, 3)),
    }
    dims = {"wide": 6, "small": 4, "tall": 5}
    together = subspace_stabilities(stacks, dims, max_iterations=5, tolerance=0.0)
    for path, stack in stacks.items():
        alone = subspace_stability(stack, dims[path], max_iterations=5, tolerance=0.0)
        for found, expected in zip(jax.tree.leaves(together[path]), jax.tree.leaves(alone), strict=True):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_many_matrices_name_the_one_that_is_wrong():
    stack = _adapters(random_adapters(0, 3, 30, 25, 3))
    with pytest.raises(ValueError, match=r"rank available in q\.v less one"):
        subspace_stabilities({"q.v": stack}, 7)
    with pytest.raises(ValueError, match=r"names no dimension for 'q\.v'"):
        subspace_stabilities({"q.v": stack}, {})


def _stacks():
    return {
        "q": _adapters(random_adapters(3, 4, 20, 16, 3, layers=(5,)), "float32"),
        "v": _adapters(planted_adapters(4, 4, 30, 12, 2)[:2], "float32"),
    }


@pytest.mark.parametrize("dim", [3, pytest.param({"q": 11, "v": 6}, marks=pytest.mark.slow)])
def test_examining_gives_what_mining_and_leaving_out_give(dim, monkeypatch):
    stacks = jax.tree.map(np.asarray, _stacks())
    dims = {path: dim[path] if isinstance(dim, dict) else dim for path in stacks}
    whole = shared_subspaces(stacks, dims)
    without = {path: min(dims[path], 3 * stack.rank) for path, stack in stacks.items()}
    stability = subspace_stabilities(stacks, without)
    told = []
    monkeypatch.setattr(grouping, "BATCH_NUMBERS", 2 * 4 * (3 * 40 + 12 * 12))  # two of q's five layers at a time
    found = examine_subspaces(stacks, dims, progress=told.append)
    assert told == [1, 2, 2, 1] and list(found) == list(stacks)
    for path, each in found.items():
        for own, expected in zip(jax.tree.leaves(each.subspace), jax.tree.leaves(whole[path]), strict=True):
            np.testing.assert_allclose(own, expected, rtol=2e-4, atol=2e-4)
        for own, expected in zip(jax.tree.leaves(each.stability), jax.tree.leaves(stability[path]), strict=True):
            np.testing.assert_allclose(own, expected, atol=5e-3)
        basis = Basis.of_canonical(jax.tree.map(jnp.asarray, whole[path].factors))
        energy = np.moveaxis(np.asarray(captured_energy(stacks[path], basis)), 0, -1)
        np.testing.assert_allclose(each.captured, energy, atol=1e-5)
        assert each.stability is not None
        np.testing.assert_allclose(each.stability.held_out_share, each.stability.held_out_energy, atol=1e-6)
        assert each.stability.random_energy.max() == pytest.approx(
            without[path] ** 2 / np.prod(stacks[path].shape[-2:])
        )


@pytest.mark.parametrize("k", [2, 7])
def test_a_crowd_gives_what_cores_give(k, monkeypatch):
    stacks = {"m": LowRank(*(x.astype(np.float32) for x in planted_adapters(0, k, 30, 25, 4, noise=0.5)[:2]))}
    stacks["tall"] = LowRank(*(x.astype(np.float32) for x in random_adapters(0, k, 120, 6, 8, layers=(2,))))
    options = {"tolerance": 0.0, "max_iterations": 7}  # the crowd's weights stand still from the eighth on
    monkeypatch.setattr(stability_module, "LEAVE_ONE_OUT", 5)  # folds of one and of two
    expected = examine_subspaces(stacks, 4, **options)
    monkeypatch.setattr(shared_module, "CROWDED", 0)
    found = examine_subspaces(stacks, 4, **options)
    assert (found["m"].stability is None) == (k == 2)
    for path in stacks:
        one, other = (x[path] for x in (found, expected))
        np.testing.assert_allclose(dense(one.subspace.factors), dense(other.subspace.factors), atol=2e-5 * 50)
        for own, cores in zip(jax.tree.leaves(one.subspace)[2:], jax.tree.leaves(other.subspace)[2:], strict=True):
            assert own.shape == cores.shape and own.dtype == cores.dtype
            np.testing.assert_allclose(own, cores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(one.captured, other.captured, atol=1e-5)
        for own, cores in zip(jax.tree.leaves(one.stability), jax.tree.leaves(other.stability), strict=True):
            np.testing.assert_allclose(own, cores, atol=2e-3)
    alone = shared_subspaces(stacks, 4, **options)["tall"]
    np.testing.assert_array_equal(alone.weights, found["tall"].subspace.weights)


@pytest.mark.parametrize("crowded", [False, True])
def test_a_subset_of_fewer_directions_captures_nothing_by_arbitrary_ones(crowded, monkeypatch):
    A, B = (np.asarray(x, np.float32) for x in random_adapters(0, 3, 40, 30, 4))
    A[1:] = 0
    if crowded:
        monkeypatch.setattr(shared_module, "CROWDED", 0)
    stability = examine_subspaces({"q": LowRank(A, B)}, 4)["q"].stability
    assert stability is not None
    np.testing.assert_array_equal(stability.held_out_energy, 0)  # of the first: the two others span nothing
    np.testing.assert_array_equal(stability.held_out_share, 0)


def test_many_adapters_are_left_out_in_folds():
    k, common = LEAVE_ONE_OUT + 1, random_adapters(0, 1, 12, 10, 2)
    own = random_adapters(1, k, 12, 10, 2)
    adapters = LowRank(*(np.float32(x + 0.3 * y) for x, y in zip(common, own, strict=True)))
    adapters.A[4] = own[0][4]  # one that shares nothing
    found = examine_subspaces({"q": adapters}, 2)["q"]
    assert found.stability is not None
    assert found.stability.held_out_energy.shape == (FOLDS,) and found.stability.held_out_share.shape == (k,)
    keep = np.arange(k) >= 7  # the first fold
    rest = shared_subspaces({"q": LowRank(adapters.A[keep], adapters.B[keep])}, 2)["q"].factors
    share = np.asarray(captured_energy(adapters[:7], Basis.of_canonical(jax.tree.map(jnp.asarray, rest))))
    np.testing.assert_allclose(found.stability.held_out_share[:7], share, atol=1e-3)
    assert found.stability.held_out_energy[0] == pytest.approx(share.mean(), abs=1e-3)
    assert found.stability.held_out_share.argmin() == 4
