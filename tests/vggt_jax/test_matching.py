import jax.numpy as jnp
import numpy as np
import pytest

from vggt_jax.matching import Matcher, directed_pairs, expected_position, likeliest_position, log_match_probability

GRID = 8


def test_the_likeliest_position_ignores_a_second_place_that_looks_alike():
    features = np.zeros((1, 2, GRID * GRID, 3), np.float32)
    features[..., 0] = 1
    features[0, 0, 0] = [0, 1, 0]
    features[0, 1, GRID + 2] = [0, 1, 0]
    features[0, 1, GRID + 3] = [0, 1, 0.2]
    features[0, 1, -1] = [0, 1, 0.3]
    log_probability = log_match_probability(jnp.asarray(features), jnp.asarray(0.02))
    assert np.allclose(np.exp(log_probability).sum(-1), 1, atol=1e-5)
    position, mass = (np.asarray(x)[0, 0, 0] for x in likeliest_position(log_probability, (GRID, GRID)))
    cosines = np.array([1, 1 / np.sqrt(1.04), 1 / np.sqrt(1.09)])
    weights = np.exp(cosines / 0.02)
    np.testing.assert_allclose(mass, weights[:2].sum() / weights.sum(), rtol=1e-4)
    np.testing.assert_allclose(position, [2 + weights[1] / weights[:2].sum(), 1], rtol=1e-4)
    between = np.asarray(expected_position(log_probability, (GRID, GRID)))[0, 0, 0]
    assert between[1] > 1.2


def test_a_matcher_finds_shuffled_tokens_again():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(GRID * GRID, 16)).astype(np.float32)
    order = rng.permutation(GRID * GRID)
    patches = np.zeros((2, 1, 2, GRID * GRID, 16), np.float32)
    patches[1, 0] = np.stack([first, 3 * first[order] + 5])  # neither length nor mean of a token counts
    matcher = Matcher(jnp.asarray(rng.normal(size=(16, 12)), jnp.float32), jnp.asarray(np.log(0.01)), layer=1)
    positions, mass = matcher(jnp.asarray(patches), (GRID, GRID))
    found = np.rint(np.asarray(positions)[0]) @ [1, GRID]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.argsort(order))
    assert np.asarray(mass).min() > 0.9


def test_pairs_go_from_the_first_view_and_back():
    assert directed_pairs(3) == ((0, 0, 1, 2), (1, 2, 0, 0))


def test_arrays_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"needs kernel .* holds weight \(3,\)"):
        Matcher.from_arrays({"weight": jnp.zeros(3)}, 0)
