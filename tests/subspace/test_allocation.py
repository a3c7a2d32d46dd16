from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from subspace import allocate_importance, allocate_proportional, allocate_uniform

# NumPy's arrays need no compilation, so that hypothesis may draw shapes; JAX's are compared with them in one shape
RANKS = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 100)), min_size=1, max_size=30)


def test_the_printed_floor_leaves_budget_unspent_and_the_exact_one_does_not():
    ranks = jnp.array([2.0, 3.0, 4.0, 7.0])
    assert allocate_uniform(ranks, 16).tolist() == [16, 16, 16, 16]
    assert allocate_importance(ranks, 16).tolist() == [0, 0, 16, 16]
    assert allocate_proportional(ranks, 16).tolist() == [8, 12, 16, 28]


def test_importance_can_spend_more_than_once_the_mean():
    assert allocate_importance(jnp.array([1.0, 1.0, 10.0]), 8).tolist() == [0, 0, 16]


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16"])
def test_equal_ranks_get_the_budget_each_however_their_mean_is_rounded(kind):
    values = np.random.default_rng(0).uniform(1, 16, 100)
    for layers in (3, 5, 7, 24):
        ranks = np.repeat(values[:, None], layers, 1).astype(kind)
        assert all(allocate_importance(row, 16).tolist() == [16] * layers for row in ranks)
    assert allocate_importance(jnp.full(24, 3.3, kind), 16).tolist() == [16] * 24
    assert allocate_importance(np.array([0.98] * 23 + [1.46], kind), 16).tolist() == [0] * 23 + [16]


@settings(max_examples=60, deadline=None)
@given(RANKS, st.integers(1, 20), st.integers(0, 10))
def test_proportional_spends_exactly_within_the_cap(ranks, dim, slack):
    found = np.asarray(allocate_proportional(np.array(ranks), dim, max_rank=dim + slack))
    assert found.sum() == dim * len(ranks)
    assert found.min() >= 0 and found.max() <= dim + slack
    order = np.argsort(ranks, kind="stable")
    assert np.all(np.diff(found[order])[np.diff(np.array(ranks)[order]) > 0] >= 0)  # more rank, never less


@settings(max_examples=60, deadline=None)
@given(RANKS, st.integers(1, 12), st.integers(0, 5))
def test_proportional_equals_giving_one_dimension_at_a_time(ranks, dim, slack):
    taken = [0] * len(ranks)
    for _ in range(dim * len(ranks)):
        free = [i for i, d in enumerate(taken) if d < dim + slack]
        taken[min(free, key=lambda i: (-ranks[i] / (taken[i] + 0.5), taken[i], i))] += 1
    assert allocate_proportional(np.array(ranks), dim, max_rank=dim + slack).tolist() == taken


@settings(max_examples=60, deadline=None)
@given(RANKS, st.integers(1, 20))
def test_importance_equals_the_printed_formula_and_never_overspends(ranks, dim):
    found = np.asarray(allocate_importance(np.array(ranks), dim))
    mean = np.mean(ranks)
    expected = dim * np.floor(np.array(ranks) / mean) if mean > 0 else np.zeros(len(ranks))
    close_to_an_integer = np.abs(np.array(ranks) / (mean or 1) - np.round(np.array(ranks) / (mean or 1))) < 1e-9
    assert np.all((found == expected) | close_to_an_integer)
    assert found.sum() <= dim * len(ranks)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1, 10), min_size=2, max_size=12), st.integers(4, 20))
def test_proportional_is_close_to_the_exact_share(ranks, dim):
    found = np.asarray(allocate_proportional(np.array(ranks), dim))
    share = np.array(ranks) / np.sum(ranks) * dim * len(ranks)
    assert np.max(np.abs(found - share)) < 1 + 0.5 * len(ranks) * np.max(share) / np.sum(share)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6400), min_size=6, max_size=6), st.sampled_from([1, 4, 20]))
def test_jax_gives_what_numpy_gives(numerators, dim):
    """Ranks are equal or differ by a 64th at least: of nearly equal ones rounding says which is the larger."""
    ranks = [each / 64 for each in numerators]
    ratios = np.array(ranks) / (np.mean(ranks) or 1)
    assume(not np.any((ratios > 0) & (np.abs(ratios - np.round(ratios)) < 1e-12)))  # where rounding decides the floor
    with jax.enable_x64(True):
        for allocate in (allocate_uniform, allocate_importance, partial(allocate_proportional, max_rank=24)):
            assert allocate(jnp.array(ranks), dim).tolist() == allocate(np.array(ranks), dim).tolist()


def test_equal_and_zero_ranks_are_uniform():
    for value in (0.0, 3.7):
        assert allocate_proportional(jnp.full(5, value), 6).tolist() == [6] * 5


def test_works_under_jit():
    ranks = jnp.array([2.0, 3.0, 4.0, 7.0])
    assert jax.jit(lambda r: allocate_proportional(r, 16))(ranks).tolist() == [8, 12, 16, 28]
    assert jax.jit(lambda r: allocate_importance(r, 16))(ranks).tolist() == [0, 0, 16, 16]


@pytest.mark.wrong_types
@pytest.mark.parametrize("allocate", [allocate_uniform, allocate_importance, allocate_proportional])
def test_bad_input(allocate):
    with pytest.raises(ValueError, match=r"one value per layer, got shape \(0,\)"):
        allocate(np.zeros(0), 4)
    with pytest.raises(ValueError, match="dim must be positive, got 0"):
        allocate(np.ones(3), 0)
    with pytest.raises(ValueError, match="finite and not negative"):
        allocate(np.array([1.0, np.nan]), 4)
    with pytest.raises(ValueError, match="max_rank=3 leaves no room"):
        allocate_proportional(np.ones(3), 4, max_rank=3)
