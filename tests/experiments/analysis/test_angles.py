"""Angles between attributes and what chance makes of them, on subspaces whose angles are planted."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from experiments.analysis.angles import angle_rows, eigenvalue_rows, measure_angles, summary_of_pairs
from experiments.analysis.matrices import matrices_of
from experiments.analysis.overlap import LEVEL, SAMPLES, Alignment, angles_of, draw_chances, overlap_of, verdicts
from experiments.mining.folder import read_inputs
from tests.experiments.analysis.planted import SHAPES, factors, orthonormal, turned, write_subspace

DIM = 4
ANGLES = {"output": np.array([10.0, 35.0, 70.0, 90.0]), "input": np.array([0.0, 45.0, 60.0, 80.0])}
"""Between geometry and texture in every matrix; camera is drawn at random."""
TINY = "camera_head.pose_branch.fc1"
PLANTED = {**SHAPES, TINY: ((), DIM, 48)}
"""TINY's outputs are spanned by every subspace: the same for all attributes, whatever they are."""


def _attributes():
    rng = np.random.default_rng(3)
    found = {"geometry": {}, "texture": {}, "camera": {}}
    for path, (layers, n, m) in PLANTED.items():
        draws = {name: [] for name in found}
        for _ in range(int(np.prod(layers))):
            U, V = orthonormal(rng, n, DIM), orthonormal(rng, m, DIM)
            other = U if n == DIM else turned(rng, U, ANGLES["output"])
            draws["geometry"].append((U, V))
            draws["texture"].append((other, turned(rng, V, ANGLES["input"])))
            draws["camera"].append((orthonormal(rng, n, DIM), orthonormal(rng, m, DIM)))
        for name, pieces in draws.items():
            U, V = (np.stack(side).reshape(*layers, -1, DIM) for side in zip(*pieces, strict=True))
            found[name][path] = factors(U, V, np.array([3.0, 2.0, 1.0, 0.5]))
    return found


@pytest.fixture(scope="module")
def planted():
    return _attributes()


@pytest.fixture(scope="module")
def angles(planted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    inputs = read_inputs([write_subspace(folder / name, name, found) for name, found in planted.items()])
    return measure_angles(inputs, seed=0)


@pytest.mark.parametrize("side", ["output", "input"])
def test_planted_angles_are_found(angles, side):
    pair = angles.pairs.index(("geometry", "texture"))
    expected = np.sort(np.concatenate([1 - np.cos(np.radians(ANGLES[side])), 1 + np.cos(np.radians(ANGLES[side]))]))
    overlap = np.mean(np.cos(np.radians(ANGLES[side])) ** 2)
    for i, matrix in enumerate(angles.matrices):
        if matrix.path == TINY and side == "output":
            continue
        values = angles.sides[side].eigenvalues[i][pair]
        np.testing.assert_allclose(values, expected, atol=3e-6)
        np.testing.assert_allclose(angles_of(values), ANGLES[side], atol=0.15)
        assert angles.sides[side].overlap[i, pair] == pytest.approx(overlap, abs=2e-6)
        assert angles.sides[side].distance[i, pair] == pytest.approx(expected[0], abs=3e-6)


@pytest.mark.parametrize("side", ["output", "input"])
def test_all_pairs_in_all_matrices_equal_scipy(angles, planted, side):
    names, factor = list(planted), {"output": "A", "input": "B"}[side]
    for i, matrix in enumerate(angles.matrices):
        for j, (first, second) in enumerate(itertools.combinations(names, 2)):
            bases = [np.asarray(getattr(planted[name][matrix.path], factor), np.float64) for name in (first, second)]
            if matrix.layer is not None:
                bases = [basis[matrix.layer] for basis in bases]
            expected = scipy.linalg.subspace_angles(*bases)
            found = angles.sides[side]
            assert found.overlap[i, j] == pytest.approx(np.mean(np.cos(expected) ** 2), abs=1e-5)
            assert found.distance[i, j] == pytest.approx(1 - np.cos(expected.min()), abs=1e-5)


def test_verdicts_of_planted_and_of_random_pairs(angles):
    for side, found in angles.sides.items():
        for j, pair in enumerate(angles.pairs):
            own = [i for i, matrix in enumerate(angles.matrices) if matrix.path != TINY or side == "input"]
            if pair == ("geometry", "texture"):
                assert (found.verdict[own, j] == Alignment.ALIGNED).all() and (found.percentile[own, j] > 99).all()
            else:
                assert (found.verdict[own, j] == 0).mean() > 0.9
    last = next(i for i, matrix in enumerate(angles.matrices) if matrix.path == TINY)
    assert (angles.sides["output"].verdict[last] == 0).all()  # nothing can be said: every pair is the same space
    np.testing.assert_allclose(angles.sides["output"].percentile[last], 50, atol=5)
    np.testing.assert_allclose(angles.sides["output"].overlap[last], 1, atol=1e-6)


def test_rows_say_the_same(angles):
    rows = angle_rows(angles)
    assert len(rows) == 2 * len(angles.matrices) * 3
    for row in rows:
        i = [(m.path, m.layer) for m in angles.matrices].index((row.path, row.layer))
        j = angles.pairs.index((row.first, row.second))
        found = angles.sides[row.side]
        assert row.overlap == pytest.approx(found.overlap[i, j]) and row.alignment == found.verdict[i, j]
        assert row.chance == pytest.approx(row.dim / row.space)
    eigenvalues = eigenvalue_rows(angles)
    assert len(eigenvalues) == sum(2 * matrix.dim for matrix in angles.matrices) * 3 * 2
    assert all(-1e-6 <= row.eigenvalue <= 2 + 1e-6 for row in eigenvalues)
    summary = summary_of_pairs(angles)
    assert [(row.side, row.first) for row in summary][:3] == [("output", a) for a, _ in angles.pairs]
    for row in summary:
        assert sum(row.counts.values()) == len(angles.matrices) and set(row.counts) == set(Alignment)


def test_matrices_in_the_models_order(planted):
    found = matrices_of(planted["geometry"])
    assert [m.path for m in found if m.layer in (0, None)] == list(PLANTED)
    assert found[0].group == "frame qkv" and found[0].size("output") == 96 and found[0].size("input") == 32


@pytest.mark.parametrize(("n", "d"), [(30, DIM), pytest.param(1024, 16, marks=pytest.mark.slow)])
def test_chance_has_the_known_mean_and_spread(n, d):
    """Of ‖UᵀU'‖²_F / d for uniform subspaces; the moments of a matrix Beta variable."""
    chance = draw_chances([(n, d)], seed=1)[n, d]
    spread = np.sqrt(2 * (n - d) ** 2 / (n**2 * (n - 1) * (n + 2)))
    assert abs(chance.overlap.mean() - d / n) < 5 * spread / np.sqrt(SAMPLES)
    assert chance.overlap.std() == pytest.approx(spread, rel=0.05)
    low, high = chance.overlap_range
    assert low < d / n < high and np.mean((chance.overlap >= low) & (chance.overlap <= high)) == pytest.approx(
        0.98, abs=2e-3
    )


def test_p_values_are_valid_and_count_both_tails():
    chance, fresh = (draw_chances([(40, DIM)], seed=seed)[40, DIM] for seed in (0, 1))
    p = chance.p_value(fresh.overlap)
    for level in (0.01, 0.05, 0.5):
        assert np.mean(p <= level) < level + 4 * np.sqrt(level / SAMPLES)
    assert chance.p_value(np.array([1.0, 0.0])) == pytest.approx(2 / (SAMPLES + 1))
    percentile = scipy.stats.percentileofscore(chance.overlap, fresh.overlap[:50], kind="mean")
    np.testing.assert_allclose(chance.percentile(fresh.overlap[:50]), percentile, atol=0.2)
    near = fresh.eigenvalues[:50, 0]
    expected = scipy.stats.percentileofscore(chance.eigenvalues[:, 0], near, kind="mean")
    np.testing.assert_allclose(chance.distance_percentile(near), expected, atol=1e-3)


def test_subspaces_that_have_to_meet_are_no_farther_apart_than_others():
    chance, fresh = (draw_chances([(9, 6)], seed=seed)[9, 6] for seed in (0, 1))
    assert chance.distance_percentile(fresh.eigenvalues[:50, 0]) == pytest.approx(50)


def test_a_size_has_the_same_chance_whatever_else_is_asked_for():
    alone, among = draw_chances([(50, DIM)], seed=0), draw_chances([(60, DIM), (50, DIM)], seed=0)
    np.testing.assert_array_equal(alone[50, DIM].eigenvalues, among[50, DIM].eigenvalues)


def test_verdicts_hold_the_false_discovery_rate():
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(200):
        p = np.concatenate([rng.uniform(size=900), rng.uniform(size=100) * 1e-4])
        verdict, adjusted = verdicts(np.ones(1000), np.zeros(1000), p)
        order = np.argsort(p)  # Benjamini and Hochberg's step-up procedure as published
        passing = np.nonzero(p[order] <= LEVEL * np.arange(1, 1001) / 1000)[0]
        assert set(np.nonzero(verdict)[0]) == set(order[: passing.max() + 1])
        assert ((adjusted <= LEVEL) == (verdict != 0)).all()
        wrong.append((verdict[:900] != 0).sum() / max(1, (verdict != 0).sum()))
    assert np.mean(wrong) < LEVEL


def test_overlap_is_the_mean_squared_cosine():
    angles = np.radians([5.0, 50.0, 90.0])
    eigenvalues = np.sort(np.concatenate([1 - np.cos(angles), 1 + np.cos(angles)]))
    assert overlap_of(eigenvalues) == pytest.approx(np.mean(np.cos(angles) ** 2))
