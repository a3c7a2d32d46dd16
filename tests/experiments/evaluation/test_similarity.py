import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from experiments.evaluation.similarity import Similarity, fit_similarity


def drawn(seed, scale=None):
    rng = np.random.default_rng(seed)
    factor = float(np.exp(rng.uniform(-3, 3))) if scale is None else scale
    return Similarity(factor, Rotation.random(random_state=seed).as_matrix(), 5 * rng.normal(size=3))


def assert_same(found, expected, atol=1e-6):
    assert found.scale == pytest.approx(expected.scale, rel=atol)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=atol)
    np.testing.assert_allclose(found.translation, expected.translation, atol=atol)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(3, 40), flat=st.booleans())
def test_known_transformations_are_recovered(seed, count, flat):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    if flat or count == 3:
        points[:, 2] = 0  # of points in a plane the mirror image fits as well
    truth = drawn(seed)
    found = fit_similarity(points, truth(points))
    np.testing.assert_allclose(found(points), truth(points), atol=1e-6)
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    singular = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if singular[1] > 1e-2 * singular[0]:
        assert_same(found, truth)


def test_it_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    source, weights = rng.normal(size=(30, 3)), rng.uniform(0, 2, 30)
    target = drawn(1)(source) + 0.3 * rng.normal(size=(30, 3))

    def residuals(x):
        moved = np.exp(x[0]) * Rotation.from_rotvec(x[1:4]).apply(source) + x[4:]
        return (np.sqrt(weights)[:, None] * (moved - target)).ravel()

    found = fit_similarity(source, target, weights)
    start = [np.log(found.scale), *Rotation.from_matrix(found.rotation).as_rotvec(), *found.translation]
    best = least_squares(residuals, np.add(start, 0.05), xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert np.sum(residuals(start) ** 2) == pytest.approx(2 * best.cost, rel=1e-10)
    np.testing.assert_allclose(start, best.x, atol=1e-5)


def test_a_mirror_image_is_met_by_a_rotation():
    source = np.random.default_rng(2).normal(size=(50, 3))
    found = fit_similarity(source, source * [1, 1, -1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    # Kabsch's rotation, from SciPy
    centred = source - source.mean(axis=0)
    expected = Rotation.align_vectors(centred * [1, 1, -1], centred)[0]
    np.testing.assert_allclose(found.rotation, expected.as_matrix(), atol=1e-8)


def test_weights_are_repetitions_and_nothing_counts_without():
    rng = np.random.default_rng(3)
    source, target = rng.normal(size=(2, 12, 3))
    weights = rng.integers(0, 4, 12)
    repeated = [np.repeat(x, weights, axis=0) for x in (source, target)]
    assert_same(fit_similarity(source, target, weights.astype(float)), fit_similarity(*repeated), 1e-10)


def test_without_scale_it_is_rigid():
    source = np.random.default_rng(4).normal(size=(20, 3))
    rigid = drawn(5, scale=1.0)
    assert_same(fit_similarity(source, rigid(source), with_scale=False), rigid)
    assert fit_similarity(source, 3 * source, with_scale=False).scale == 1


def test_one_after_the_other():
    first, second = drawn(6), drawn(7)
    points = np.random.default_rng(8).normal(size=(2, 5, 3))
    np.testing.assert_allclose(second.after(first)(points), second(first(points)), rtol=1e-12)
    np.testing.assert_array_equal(Similarity.identity()(points), points)


@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (np.zeros((4, 3)), np.zeros((5, 3)), None, r"got \(4, 3\) and \(5, 3\)"),
        (np.eye(3)[:2], np.eye(3)[:2], None, "three points at least, got 2"),
        (np.eye(3), np.eye(3), np.array([1.0, 1.0, 0.0]), "three points at least, got 2"),
        (np.eye(3), np.eye(3), np.ones(2), "weights must have shape"),
        (np.eye(3), np.eye(3), np.array([1.0, 1.0, -1.0]), "not be negative"),
        (np.eye(3) * np.nan, np.eye(3), None, "finite"),
        (np.outer(np.arange(5.0), [1, 2, 3]), np.random.default_rng(0).normal(size=(5, 3)), None, "on a line"),
        (np.ones((5, 3)), np.random.default_rng(0).normal(size=(5, 3)), None, "on a line or coincide"),
    ],
)
def test_what_is_refused(source, target, weights, message):
    with pytest.raises(ValueError, match=message):
        fit_similarity(source, target, weights)
