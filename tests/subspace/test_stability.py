import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from subspace import LowRank, shared_subspace, subspace_stabilities, subspace_stability
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
