"""Values and gradients of the official training losses."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.storage.identity import identity
from experiments.training.batch import TrainingBatch
from experiments.training.losses import (
    CameraLoss,
    Objective,
    RegressionLoss,
    camera_loss,
    inliers,
    regression_loss,
)
from experiments.training.numerics import kth_smallest, length, quantile_rank
from experiments.training.spatial_losses import gradient_loss, normal_loss
from vggt_jax import Predictions
from vggt_jax.pose_encoding import encode_pose

DEPTH_AND_POINTS = {
    "depth_default_cfg": ("depth", RegressionLoss()),
    "depth_no_quantile": ("depth", RegressionLoss(valid_range=-1)),
    "depth_grad_conf": ("depth", RegressionLoss(spatial="grad_conf")),
    "depth_no_grad_term": ("depth", RegressionLoss(spatial="", valid_range=0.9)),
    "depth_gamma2_alpha05": ("depth", RegressionLoss(gamma=2, alpha=0.5, valid_range=-1)),
    "point_normal_cfg": ("point", RegressionLoss(spatial="normal")),
    "point_normal_conf": ("point", RegressionLoss(spatial="normal_conf")),
    "point_grad_noq": ("point", RegressionLoss(valid_range=-1)),
}
OBJECTIVES = {
    "multitask_default": Objective(),
    "multitask_cam5_depth_point": Objective(point=RegressionLoss(spatial="normal")),
}
ROUNDED = {f"{name}__{x}" for name in OBJECTIVES for x in ("loss_camera", "loss_R", "loss_FL", "objective")}
PREDICTED = {
    "pose_enc_list": "pose_enc_list",
    "depth": "pred_depth",
    "depth_conf": "pred_depth_conf",
    "world_points": "pred_world_points",
    "world_points_conf": "pred_world_points_conf",
}


def inputs(case, dtype=np.float32):
    """Predictions and ground truth of the golden case."""
    arrays = {name: x.astype(dtype) if x.dtype == np.float32 else x for name, x in case.items()}
    predictions = Predictions(**{name: jnp.asarray(arrays[stored]) for name, stored in PREDICTED.items()})
    b, s, h, w = case["depths"].shape
    truth = ("depths", "point_masks", "extrinsics", "intrinsics", "world_points")
    batch = TrainingBatch(images=jnp.zeros((b, s, h, w, 3)), **{name: jnp.asarray(arrays[name]) for name in truth})
    return predictions, batch


def every_value(predictions, batch):
    """All quantities that the golden file names, of one compilation."""
    encoding = encode_pose(batch.extrinsics, batch.intrinsics, batch.image_size)
    encoding = encoding.astype(jnp.float32).astype(encoding.dtype)
    values = {}
    for norm in ("l1", "l2"):
        terms = camera_loss(predictions.pose_enc_list, encoding, batch.point_masks, norm)
        values |= {f"camera_{norm}__{name}": value for name, value in terms.items()}
    first_frames_empty = batch.point_masks.at[:, 0].set(False)
    terms = camera_loss(predictions.pose_enc_list, encoding, first_frames_empty)
    values |= {f"camera_no_valid_frame__{name}": value for name, value in terms.items()}

    depth = (predictions.depth, predictions.depth_conf, batch.depths[..., None])
    point = (predictions.world_points, predictions.world_points_conf, batch.world_points)
    for name, (kind, settings) in DEPTH_AND_POINTS.items():
        found = regression_loss(*(depth if kind == "depth" else point), batch.point_masks, settings)
        values |= {f"{name}__{term}_{kind}": value for term, value in found.items()}
    for name, objective in OBJECTIVES.items():
        total, terms = objective(predictions, batch)
        values |= {f"{name}__{term}": value for term, value in terms.items()} | {f"{name}__objective": total}

    predicted, confidence, truth = depth
    error = length(truth - predicted)
    kept = inliers(error, batch.point_masks, 0.98)
    count = jnp.sum(batch.point_masks)
    values |= {
        "piece__gradient_loss_scale0": gradient_loss(predicted, truth, batch.point_masks),
        "piece__gradient_loss_scale0_conf": gradient_loss(predicted, truth, batch.point_masks, confidence),
        "piece__normal_loss_scale0": normal_loss(point[0], point[2], batch.point_masks),
        "piece__quantile_098_of_depth_abs_error": kth_smallest(error, batch.point_masks, quantile_rank(0.98, count)),
        "piece__filtered_mean_098": jnp.sum(jnp.where(kept, error, 0)) / jnp.sum(kept),
        "piece__filtered_count_098": jnp.sum(kept),
        "piece__valid_count": count,
    }
    return values


@pytest.mark.parametrize(
    ("dtype", "prefix", "tolerance"),
    [("float32", "value", 2e-6), pytest.param("float64", "value64", 1e-12, marks=pytest.mark.slow)],
)
def test_values(golden, dtype, prefix, tolerance):
    case = golden("loss_case")
    with jax.enable_x64(dtype == "float64"):
        predictions, batch = inputs(case, dtype)
        found = jax.jit(every_value)(predictions, batch)
    expected = {name.removeprefix(prefix + "__"): x for name, x in case.items() if name.startswith(prefix + "__")}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # official encodings of cameras are rounded to float32 in any run, ours within the objective are not
        bound = max(tolerance, 1e-7) if name in ROUNDED else tolerance
        np.testing.assert_allclose(found[name], value, rtol=bound, atol=0, err_msg=name)


def total_loss(predictions, batch):
    return OBJECTIVES["multitask_cam5_depth_point"](predictions, batch)[0]


@pytest.fixture(scope="module")
def gradients_of():
    return jax.jit(jax.grad(total_loss))


def test_gradients(golden, gradients_of):
    case = golden("loss_case")
    found = gradients_of(*inputs(case))
    for name in PREDICTED:
        expected = case[f"grad_{name}"]
        error = np.abs(getattr(found, name) - expected).max() / np.abs(expected).max()
        assert error <= 1e-5, (name, error)


@pytest.mark.slow
def test_vmap_equals_one_after_the_other(golden, gradients_of):
    case = golden("loss_case")
    predictions, batch = inputs(case)
    other_masks = batch.point_masks & (jnp.arange(batch.image_size[1]) % 3 > 0)
    others = [(predictions, batch), (predictions, replace(batch, point_masks=other_masks))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *others)
    together = jax.jit(jax.vmap(jax.grad(total_loss)))(*stacked)
    for i, pair in enumerate(others):
        alone = gradients_of(*pair)
        for found, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_perfect_predictions_have_finite_gradients(golden):
    """A norm has no slope at 0 in JAX; the official loss has gradient 0 there."""
    predictions, batch = inputs(golden("loss_case"))
    batch = replace(batch, depths=jnp.minimum(batch.depths, 100), world_points=jnp.clip(batch.world_points, -100, 100))

    @jax.jit
    @jax.grad
    def gradients_at_the_truth(change):
        truth = encode_pose(batch.extrinsics, batch.intrinsics, batch.image_size)
        perfect = replace(
            predictions,
            pose_enc_list=truth + change["poses"],
            depth=batch.depths[..., None] + change["depth"],
            world_points=batch.world_points + change["points"],
        )
        return total_loss(perfect, batch)

    none = {"poses": (4, 2, 3, 9), "depth": (2, 3, 28, 42, 1), "points": (2, 3, 28, 42, 3)}
    found = gradients_at_the_truth({name: jnp.zeros(shape) for name, shape in none.items()})
    assert np.isfinite(found["points"]).all()
    assert np.abs(found["depth"]).max() == 0 and np.abs(found["poses"]).max() == 0


@pytest.mark.parametrize("valid", [0, 99])
def test_batch_with_hardly_a_valid_pixel_teaches_nothing(golden, gradients_of, valid):
    predictions, batch = inputs(golden("loss_case"))
    flat = jnp.arange(batch.point_masks.size).reshape(batch.point_masks.shape)
    batch = replace(batch, point_masks=flat < valid, depths=jnp.full_like(batch.depths, jnp.nan))
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(gradients_of(predictions, batch)))


def test_invalid_pixels_may_hold_anything(golden, gradients_of):
    predictions, batch = inputs(golden("loss_case"))
    expected = gradients_of(predictions, batch)
    unknown = jnp.where(batch.point_masks, batch.depths, jnp.nan)
    far = jnp.where(batch.point_masks[..., None], batch.world_points, jnp.inf)
    found = gradients_of(predictions, replace(batch, depths=unknown, world_points=far))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_objective_names_the_missing_head(golden):
    predictions, batch = inputs(golden("loss_case"))
    with pytest.raises(ValueError, match="no point head"):
        Objective(camera=None, depth=None, point=RegressionLoss())(replace(predictions, world_points=None), batch)


def test_parts_of_the_objective_can_be_left_out(golden):
    objective = Objective(camera=CameraLoss(weight=2, norm="l2"), depth=None)
    total, terms = jax.jit(lambda predictions, batch: objective(predictions, batch))(*inputs(golden("loss_case")))
    np.testing.assert_allclose(total, 2 * golden("loss_case")["value__camera_l2__loss_camera"], rtol=2e-6)
    assert set(terms) == {"loss_camera", "loss_T", "loss_R", "loss_FL"}


def test_an_objective_has_an_identity():
    plain = identity(Objective())
    assert plain["camera"]["weight"] == 5.0 and plain["depth"]["valid_range"] == 0.98 and plain["point"] is None
    assert identity(Objective(CameraLoss(weight=5))) == plain != identity(Objective(CameraLoss(weight=4)))
    assert identity(Objective(depth=RegressionLoss(alpha=0.3))) != plain != identity(Objective(depth=None))
