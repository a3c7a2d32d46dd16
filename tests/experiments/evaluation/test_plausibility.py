"""Predictions with another convention: what it is, is said; right ones, in any world and unit, and bad ones, raise no doubt."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.evaluation.plausibility import STATED, plausibility
from experiments.evaluation.remarks import facts, remarks
from experiments.evaluation.results import Results
from experiments.evaluation.scene import Reconstruction, evaluate_depth, evaluate_scene
from tests.experiments import analytic_scene
from tests.experiments.evaluation.test_poses import elsewhere, inverse
from tests.experiments.evaluation.test_similarity import drawn

SIZE, VIEWS = 48, 4
FLIP = np.diag([1.0, -1, -1])


@pytest.fixture(scope="module")
def truth():
    cameras = analytic_scene.ring([(SIZE, SIZE)] * VIEWS)
    depths = np.stack([analytic_scene.render(*camera)[1] for camera in cameras])
    depths = np.where(depths < analytic_scene.SKY_DEPTH, depths, 0)
    return Reconstruction(depths, np.stack([c.extrinsics for c in cameras]), np.stack([c.intrinsics for c in cameras]))


def said(predicted, truth):
    """What is found, and the sentences about it."""
    found = plausibility(predicted, truth)
    return found, remarks(Results({}, {}, {}, plausible={("set", "scene"): found}))


def scaled(intrinsics, factor):
    return intrinsics * np.array([[factor], [factor], [1]])


def test_right_predictions_in_any_world_and_unit_raise_no_doubt(truth):
    similarity = drawn(0)
    moved = Reconstruction(similarity.scale * truth.depths, elsewhere(truth.extrinsics, similarity), truth.intrinsics)
    for predicted in (truth, moved):
        found, sentences = said(predicted, truth)
        assert not sentences and found.likely is None and found.poses.auc_30 == 1
        assert found.check.agreement is not None and found.check.agreement.share > 0.93
        assert found.unit_ratio == pytest.approx(1)


@pytest.mark.parametrize(
    ("stored", "how"),
    [
        (inverse, {"pose": "camera_to_world"}),
        (lambda e: FLIP @ e, {"axes": "opengl"}),
        (lambda e: inverse(FLIP @ e), {"pose": "camera_to_world", "axes": "opengl"}),
    ],
)
def test_other_poses_are_named(stored, how, truth):
    similarity = drawn(0)
    moved = Reconstruction(similarity.scale * truth.depths, elsewhere(truth.extrinsics, similarity), truth.intrinsics)
    found, (sentence,) = said(replace(moved, extrinsics=stored(moved.extrinsics)), truth)
    assert found.likely is not None and found.likely.differing(STATED) == how == facts(found)["fits_better"]
    assert found.poses.auc_30 < 0.5 and found.likely_poses.auc_30 == 1
    assert all(f"{name}={value}" in sentence for name, value in how.items())
    assert found.check.agreement is not None
    assert found.check.says_little or found.check.agreement.share < 0.55


@pytest.mark.parametrize("factor", [1 / SIZE, 2, 0.5])
def test_other_intrinsics_are_named(factor, truth):
    found, (sentence,) = said(replace(truth, intrinsics=scaled(truth.intrinsics, factor)), truth)
    assert not found.check.is_centred and "in pixels of the depth maps" in sentence


def test_without_poses_only_the_intrinsics_can_be_wrong(truth):
    elsewhere = replace(truth, extrinsics=truth.extrinsics + np.arange(12).reshape(3, 4))
    assert (
        remarks(Results({}, {}, {}, plausible={("set", "scene"): plausibility(elsewhere, truth, has_poses=False)}))
        == []
    )
    normalised = replace(elsewhere, intrinsics=scaled(truth.intrinsics, 1 / SIZE))
    assert not plausibility(normalised, truth, has_poses=False).check.is_centred


def test_two_units_are_named(truth):
    found, (sentence,) = said(replace(truth, extrinsics=truth.extrinsics * np.array([1, 1, 1, 1000])), truth)
    assert found.has_two_units and found.unit_ratio == pytest.approx(1e-3) and "different units" in sentence
    found, (sentence,) = said(replace(truth, extrinsics=truth.extrinsics * np.array([1, 1, 1, 1.7])), truth)
    assert found.check.disagrees and found.unit_ratio == pytest.approx(1 / 1.7) and "different units" in sentence


def test_two_units_are_named_where_cameras_hardly_move_too(truth):
    still = np.einsum("ij,sjk->sik", truth.extrinsics[0, :, :3].T, truth.extrinsics)
    still[:, :, 3] = 1e-4 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    still[:, :, :3] = np.eye(3)
    same = replace(truth, depths=np.broadcast_to(truth.depths[:1], truth.depths.shape), extrinsics=still)
    assert said(same, same)[1] == []
    found, (sentence,) = said(replace(same, depths=1000 * same.depths), same)
    assert not found.check.disagrees and found.unit_ratio == pytest.approx(1000) and "different units" in sentence


def test_depths_that_do_not_fit_the_cameras_are_told_of(truth):
    views = np.array([1, 1.3, 0.8, 1.2])[:, None, None]
    found, (sentence,) = said(replace(truth, depths=truth.depths * views), truth)
    assert found.check.disagrees and "do not fit each other" in sentence


def test_a_depth_that_is_the_same_everywhere_is_told_of(truth):
    flat = replace(truth, depths=np.full_like(truth.depths, 2.0))
    mask = truth.depths > 0
    for evaluate in (evaluate_scene, evaluate_depth):
        metrics, good = evaluate(flat, truth, mask).metrics, evaluate(truth, truth, mask).metrics
        assert metrics.relief == 0
        assert good.relief == pytest.approx(truth.depths[mask].std() / truth.depths[mask].mean())
        some = {("set", "a"): metrics, ("set", "b"): good}
        assert any("In 1 of 2 scene(s) the same depth" in each for each in remarks(Results(some, {}, {})))
        assert not any("same depth" in each for each in remarks(Results({("set", "b"): good}, {}, {})))


def test_clouds_that_do_not_meet_are_told_of(truth):
    rng = np.random.default_rng(0)
    wrong = replace(truth, depths=truth.depths * np.exp(rng.normal(size=truth.depths.shape)))
    metrics = evaluate_scene(wrong, truth, truth.depths > 0).metrics
    assert metrics.icp_fitness < 0.3
    assert any("icp_fitness" in sentence for sentence in remarks(Results({("set", "scene"): metrics}, {}, {})))
