import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from experiments.evaluation.affine_depth import ANCHORS, depth_metrics, fit_scale_shift, spread


def views(seed, count, noise, strays=0.0):
    """Predicted and true points in a camera; the prediction in another unit and place."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(count, 3)) * [1, 1, 0.7] + [0, 0, 4]
    predicted = (truth - [0.1, -0.2, 0.6]) / 1.7 * (1 + noise * rng.normal(size=(count, 1)))
    stray = rng.random(count) < strays
    predicted[stray] += rng.normal(size=(stray.sum(), 3))
    return predicted, truth


def weighted_loss(predicted, truth, scale, shift):
    return np.sum(np.abs(scale * predicted + shift - truth) / np.linalg.norm(truth, axis=1, keepdims=True))


def every_anchor(predicted, truth):
    """The smallest loss over anchors, each with every scale at which the loss has a kink."""
    best = np.inf
    for p, g in zip(predicted, truth, strict=True):
        x, y = predicted - p, truth - g
        for scale in (y[x != 0] / x[x != 0]).ravel():
            best = min(best, weighted_loss(predicted, truth, scale, g - scale * p))
    return best


def linear_program(predicted, truth):
    """The smallest loss of all: Σ w u with −u ≤ s p + t − g ≤ u."""
    n = predicted.size
    shift = np.tile(np.eye(3), (len(predicted), 1))
    A = np.concatenate([predicted.reshape(-1, 1), shift], axis=1)
    weights = np.repeat(1 / np.linalg.norm(truth, axis=1), 3)
    constraints = np.block([[A, -np.eye(n)], [-A, -np.eye(n)]])
    limits = np.concatenate([truth.ravel(), -truth.ravel()])
    bounds = [(None, None)] * 4 + [(0, None)] * n
    return linprog([0] * 4 + list(weights), A_ub=constraints, b_ub=limits, bounds=bounds).fun


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 14),
    noise=st.sampled_from([0.0, 0.02, 0.5]),
    strays=st.sampled_from([0.0, 0.3]),
)
def test_few_points_against_every_possibility(seed, count, noise, strays):
    predicted, truth = views(seed, count, noise, strays)
    anchored, optimal = fit_scale_shift(predicted, truth)
    for fit in (anchored, optimal):
        assert fit.loss == pytest.approx(weighted_loss(predicted, truth, fit.scale, fit.shift), abs=1e-9)
    assert anchored.loss == pytest.approx(every_anchor(predicted, truth), rel=1e-9, abs=1e-9)
    assert optimal.loss == pytest.approx(linear_program(predicted, truth), rel=1e-6, abs=1e-7)


def test_many_points_against_every_anchors_weighted_median():
    predicted, truth = views(0, 300, 0.1, 0.1)
    anchored, optimal = fit_scale_shift(predicted, truth)
    weights = np.repeat(1 / np.linalg.norm(truth, axis=1), 3)
    losses = []
    for p, g in zip(predicted, truth, strict=True):
        x, y = (predicted - p).ravel(), (truth - g).ravel()
        some = x != 0
        order = np.argsort(y[some] / x[some])
        share = np.cumsum((weights * np.abs(x))[some][order])
        scale = (y[some] / x[some])[order][np.argmax(share >= share[-1] / 2)]
        losses.append(weights @ np.abs(scale * x - y))
    assert anchored.loss == pytest.approx(min(losses), rel=1e-12)
    exact = anchored.scale * predicted + anchored.shift - truth
    assert np.argmin(losses) == np.argmin(np.abs(exact).sum(axis=1))
    assert optimal.loss < 0.999 * anchored.loss  # MoGe's is not the minimum


@pytest.mark.parametrize("seed", range(3))
def test_known_scale_and_shift_are_recovered_among_strays(seed):
    predicted, truth = views(seed, 500, 0.0, strays=0.3)
    clean = np.abs(predicted - (truth - [0.1, -0.2, 0.6]) / 1.7).max(axis=1) < 1e-9
    for fit in fit_scale_shift(predicted, truth):
        assert fit.scale == pytest.approx(1.7, rel=1e-6)
        np.testing.assert_allclose(fit.shift, [0.1, -0.2, 0.6], atol=1e-6)
        np.testing.assert_allclose(fit(predicted)[clean], truth[clean], atol=1e-6)


def test_a_mirrored_prediction_has_a_negative_scale():
    _, truth = views(1, 100, 0.0)
    for fit in fit_scale_shift(-0.5 * truth + [1, 2, 3], truth):
        assert fit.scale == pytest.approx(-2)


def test_depth_errors_by_hand():
    found = depth_metrics(np.array([1.0, 2.4, 2.6, 1.7, 1.5, -2.0]), np.array([1.0, 2, 2, 2, 2, 2]))
    assert found.abs_rel == pytest.approx((0 + 0.2 + 0.3 + 0.15 + 0.25 + 2) / 6)
    assert found.delta == pytest.approx(3 / 6)  # 2/1.5 = 1.33 is too far, 1.5/2 = 0.75 or not
    for truth in ([], [1.0, 0.0]):
        with pytest.raises(ValueError, match="must be positive"):
            depth_metrics(np.ones(len(truth)), np.array(truth))


def test_pixels_of_the_alignment_are_spread():
    np.testing.assert_array_equal(spread(np.array([3, 5, 9])), [3, 5, 9])
    many = spread(np.arange(100_000) + 7)
    assert len(many) == ANCHORS and many[0] == 7 and many[-1] == 100_006 and set(np.diff(many)) == {24, 25}


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.ones((3, 3)), np.ones((4, 3)), r"got \(3, 3\) and \(4, 3\)"),
        (np.ones((0, 3)), np.ones((0, 3)), "n > 0"),
        (np.ones((3, 3)), np.eye(3), "coincide"),
        (np.full((3, 3), np.inf), np.eye(3), "finite"),
        (np.eye(3), np.diag([1.0, 1.0, 0.0]), "camera's centre"),
    ],
)
def test_what_is_refused(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        fit_scale_shift(predicted, truth)
