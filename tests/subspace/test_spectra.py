import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import LowRank, Pattern, effective_rank, shared_subspace, spectral_pattern
from tests.subspace.oracle import dense, random_adapters

RANK = 16


def _spectrum(drops=(), p=160, decay=0.004, jitter=0.0, seed=0):
    """A smooth decay of ``decay`` decades a step with planted drops {position: decades}."""
    steps = np.full(p - 1, decay) + jitter * np.random.default_rng(seed).random(p - 1)
    for position, size in dict(drops).items():
        steps[position - 1] += size
    return 10 ** -np.concatenate([[0], np.cumsum(steps)])


@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize("decay", [0.0, 0.004, 0.02])
@pytest.mark.parametrize(
    ("drops", "name"),
    [
        ({}, "none"),
        ({16: 1.0}, "at_rank"),
        ({17: 0.5}, "at_rank"),
        ({15: 0.5}, "at_rank"),
        ({40: 1.0}, "beyond_rank"),
        ({16: 0.7, 48: 1.5}, "two_drops"),
        ({16: 1.5, 30: 0.5}, "two_drops"),
        ({5: 1.0}, "none"),
        ({5: 1.0, 16: 1.0}, "at_rank"),
        ({156: 2.0}, "none"),
    ],
)
def test_planted_patterns(drops, name, decay, jitter, dtype):
    found = spectral_pattern(jnp.asarray(_spectrum(drops, decay=decay, jitter=jitter), dtype), RANK)
    assert found.names == name
    at, beyond = ([p for p in drops if test(p)] for test in (lambda p: 14 <= p <= 18, lambda p: 18 < p <= 144))
    assert found.positions.tolist() == [at[0] if at else 0, beyond[0] if beyond else 0]
    for i, position in enumerate((at, beyond)):
        planted = drops[position[0]] if position else 0.0
        assert abs(float(found.sizes[i]) - planted) <= (decay + jitter + 1e-4 if position else 0)


def test_a_drop_spread_over_neighbours_is_one():
    found = spectral_pattern(_spectrum({15: 0.3, 16: 0.6, 17: 0.3}), RANK)
    assert (found.names, int(found.positions[0])) == ("at_rank", 16)
    assert abs(float(found.sizes[0]) - 1.2) < 0.02


def test_of_two_drops_beyond_the_larger_counts():
    found = spectral_pattern(_spectrum({30: 0.3, 60: 0.9, 100: 0.4}), RANK)
    assert (found.names, found.positions.tolist()) == ("beyond_rank", [0, 60])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 4.0])
def test_power_laws_have_no_drop(exponent):
    assert spectral_pattern(np.arange(1, 161) ** -exponent, RANK).names == "none"


def test_an_uneven_steep_decay_has_no_drop():
    """Every second step is a factor of 1.4, as large as a drop, but so are its neighbours'."""
    steps = np.where(np.arange(159) % 2, 0.15, 0.05)
    assert spectral_pattern(10 ** -np.concatenate([[0], np.cumsum(steps)]), RANK).names == "none"


def test_random_matrices_have_no_drop():
    for seed in range(20):
        sigma = np.linalg.svd(np.random.default_rng(seed).standard_normal((160, 160)), compute_uv=False)
        assert spectral_pattern(sigma, RANK).names == "none"


def test_values_below_the_rounding_floor_are_no_drops():
    sigma = np.concatenate([np.linspace(2, 1, 16), np.full(144, 1e-9) * np.random.default_rng(0).random(144)])
    found = spectral_pattern(jnp.asarray(np.sort(sigma)[::-1], jnp.float32), RANK)
    assert (found.names, found.positions.tolist()) == ("at_rank", [16, 0])
    assert spectral_pattern(np.zeros(160), RANK).names == "none"


def test_stacks_and_jit():
    spectra = np.stack([_spectrum(), _spectrum({16: 1.0}), _spectrum({40: 1.0}), _spectrum({16: 1.0, 40: 1.0})])
    found = spectral_pattern(spectra.reshape(2, 2, -1), RANK)
    assert found.names.tolist() == [["none", "at_rank"], ["beyond_rank", "two_drops"]]
    assert found.positions.shape == found.sizes.shape == (2, 2, 2)
    code = jax.jit(lambda s: spectral_pattern(s, RANK).code)(spectra)
    assert [Pattern(int(c)) for c in code] == [Pattern.NONE, Pattern.AT_RANK, Pattern.BEYOND_RANK, Pattern.TWO_DROPS]


@pytest.mark.parametrize(("shared", "expected"), [(1.0, "at_rank"), (0.0, "none")])
def test_patterns_of_mined_spectra(shared, expected):
    """Adapters that share a rank-4 part show a drop at 4 in C; independent ones do not."""
    A, B = random_adapters(0, 8, 200, 150, 4)
    core_A, core_B = random_adapters(1, 1, 200, 150, 4)
    adapters = LowRank(jnp.asarray(0.2 * A + shared * core_A), jnp.asarray(0.2 * B + shared * core_B))
    found = spectral_pattern(shared_subspace(adapters, 4).initial_singular_values, 4)
    assert found.names == expected


def test_effective_rank_equals_the_printed_formula(dtype, tolerance):
    x = LowRank(*(jnp.asarray(a, dtype) for a in random_adapters(0, 3, 20, 15, 4)))
    X = dense(x)
    expected = (np.linalg.norm(X, axis=(1, 2)) / np.linalg.norm(X, ord=2, axis=(1, 2))) ** 2
    np.testing.assert_allclose(effective_rank(x), expected, rtol=tolerance)
    assert float(effective_rank(jnp.array([3.0, 3.0, 3.0, 0.0]))) == 3
    assert float(effective_rank(jnp.zeros(4))) == 0
    assert float(effective_rank(jnp.array([1e-30, 1e-30], jnp.float32))) == 2


@pytest.mark.wrong_types
def test_bad_input():
    with pytest.raises(ValueError, match="rank must be positive, got 0"):
        spectral_pattern(np.ones(5), 0)
    with pytest.raises(ValueError, match=r"sigma must hold singular values, got shape \(3, 0\)"):
        spectral_pattern(np.ones((3, 0)), 1)


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_of_nothing_there_is_nothing(as_array):
    found = spectral_pattern(as_array(np.zeros((0, 5), np.float32)), 2)
    assert (found.code.shape, found.positions.shape, found.sizes.shape) == ((0,), (0, 2), (0, 2))
    nothing = LowRank(as_array(np.zeros((3, 8, 0))), as_array(np.zeros((3, 6, 0))))
    np.testing.assert_array_equal(effective_rank(nothing), np.zeros(3))


def test_one_singular_value_has_no_drop():
    for sigma in (np.array([[2.0], [0.0]]), jnp.array([[2.0], [0.0]])):
        found = spectral_pattern(sigma, 4)
        assert found.names.tolist() == ["none", "none"] and not np.any(found.positions) and found.sizes.shape == (2, 2)
