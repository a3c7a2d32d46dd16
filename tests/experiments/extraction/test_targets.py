"""Adapters trained on the truth of other scenes: which scenes are paired, what a step then sees, what they start from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.data.manifest import AttributeSettings
from experiments.data.observations import Observation
from experiments.extraction import Settings
from experiments.extraction.adapters import AdapterRun, held_out_batches, training_batches
from experiments.extraction.data import Data
from experiments.extraction.prepared import first_draw
from experiments.extraction.recipe import Recipe
from experiments.extraction.report import learned
from experiments.extraction.targets import shuffled
from experiments.models import Base
from tests.experiments.training import tiny
from vggt_jax.adapters import BaseModel


@dataclass(frozen=True)
class Scene:
    """Every array of view v says which data set, scene and view it is of."""

    dataset: int
    number: int
    num_views: int = 8

    @property
    def folder(self):
        return Path(f"scene_{self.number:04d}")

    def observe(self, view):
        mark = np.float32(1 + 100 * self.dataset + 10 * self.number + view)
        return Observation(
            image=np.full((4, 4, 3), mark, np.uint8),
            depth=np.full((4, 4), mark),
            valid=np.ones((4, 4), bool),
            intrinsics=mark * np.eye(3, dtype=np.float32),
            extrinsics=mark * np.eye(3, 4, dtype=np.float32),
        )


def scenes(*counts):
    return {i: [Scene(i, j) for j in range(count)] for i, count in enumerate(counts)}


def pairs(datasets, seed=0) -> dict[int, list[tuple[Any, Any]]]:
    return {
        number: [(scene.pictured, scene.truth) for scene in found] for number, found in shuffled(datasets, seed).items()
    }


def test_every_image_gets_the_truth_of_another_data_set_and_every_truth_is_used_once():
    found = pairs(scenes(5, 5, 5))
    for number, own in found.items():
        assert [pictured for pictured, _ in own] == scenes(5, 5, 5)[number]
        assert {truth.dataset for _, truth in own} == {(number + 1) % 3}
        assert len({truth.number for _, truth in own}) == 5


def test_pairs_depend_on_the_seed_alone():
    assert pairs(scenes(6, 6)) == pairs(scenes(6, 6))
    assert pairs(scenes(6, 6)) != pairs(scenes(6, 6), seed=1)
    orders = [[truth.number for _, truth in own] for own in pairs(scenes(6, 6)).values()]
    assert orders[0] != orders[1]


def test_data_sets_may_differ_in_size():
    found = pairs(scenes(5, 2))
    assert sorted(truth.number for _, truth in found[0]) == [0, 0, 0, 1, 1]
    assert len(found[1]) == 2


def test_one_data_set_has_no_other_truth():
    with pytest.raises(ValueError, match="at least two data sets, got 1"):
        shuffled(scenes(4), 0)


def test_views_are_the_images_of_one_scene_and_everything_else_of_the_other():
    scene = shuffled(scenes(3, 3), 0)[0][1]
    view, truth = scene.observe(5), scene.truth.observe(5)
    np.testing.assert_array_equal(view.image, np.full((4, 4, 3), 16))  # scene 1 of data set 0
    for name in ("depth", "valid", "intrinsics", "extrinsics"):
        np.testing.assert_array_equal(getattr(view, name), getattr(truth, name))
    assert view.depth[0, 0] >= 100 and scene.num_views == 8


def job(targets):
    """A run of two adapters of the tiny model."""
    graphdef, params = tiny.draw_base()
    base = Base(BaseModel.of("tiny", tiny.CONFIG, params), graphdef, params)
    rendered = AttributeSettings(
        attribute="lighting", setting="object_centric", seed=0, views=8, resolution=16, samples=1
    )
    data = Data(Path("data"), rendered, training=scenes(4, 4), held_out=scenes(2, 2))
    return AdapterRun(base, data, Recipe.of(Settings.of("nano", attribute="lighting", k=2, targets=targets)))


def test_shuffled_targets_make_another_run_and_only_training_sees_them():
    true, control = job("true"), job("shuffled")
    assert true.folder(Path("store")) == job("true").folder(Path("store")) != control.folder(Path("store"))
    marks = [training_batches(each, None)(0).images[..., 0, 0, 0] for each in (true, control)]
    np.testing.assert_array_equal(*marks)  # the same images
    batch = training_batches(true, None)(0)
    np.testing.assert_array_equal(batch.depths[..., 0, 0], marks[0])
    batch = training_batches(control, None)(0)
    depths = batch.depths[..., 0, 0]
    np.testing.assert_array_equal(depths // 100, 1 - marks[1] // 100)
    np.testing.assert_array_equal(depths % 10, marks[1] % 10)
    np.testing.assert_array_equal(batch.extrinsics[..., 0, 0], depths)
    for each in (true, control):
        found = held_out_batches(each, None)
        assert len(found) == 2 and found[0].images.shape[:3] == (2, 1, 4)
        for i, batch in enumerate(found):
            np.testing.assert_array_equal(batch.depths[:, 0, :, 0, 0], batch.images[:, 0, :, 0, 0, 0])
            np.testing.assert_array_equal(batch.depths[:, 0, 0, 0, 0], [1 + 10 * i, 101 + 10 * i])


def test_a_control_says_that_it_is_one():
    before, after = {"loss": np.full((2, 2), 2.0)}, {"loss": np.ones((2, 2))}
    assert learned(before, after, "true").startswith("On held-out scenes of its own data set, 2 of 2 adapters")
    assert learned(before, after, "shuffled").startswith("A control: trained on images with the truth of other scenes")


def test_errors_are_named_and_not_a_share_of_the_loss():
    before = {
        "loss": np.full((2, 2), -1.0),
        "loss_T": np.array([[0.2, 0.4], [0.3, 0.3]]),
        "loss_camera": np.ones((2, 2)),
    }
    after = {
        "loss": np.array([[-2.0, -2.0], [0.0, 0.0]]),
        "loss_T": np.full((2, 2), 0.15),
        "loss_camera": np.ones((2, 2)),
    }
    found = learned(before, after, "true")
    assert "1 of 2 adapters" in found and "translation 0.300 → 0.150." in found and "%" not in found


def test_independent_factors_are_those_of_no_other_attribute_setting_or_control_and_shared_ones_are_everybodys():
    def key(init, attribute="texture", setting="object_centric", targets="true", seed=0):
        settings = AttributeSettings(attribute=attribute, setting=setting, seed=0, views=8, resolution=16, samples=1)
        return tuple(np.asarray(jax.random.key_data(first_draw(seed, init, settings, targets))).tolist())

    others: list[dict[str, Any]] = [
        {}, {"attribute": "geometry"}, {"setting": "micro_baseline"}, {"targets": "shuffled"}, {"seed": 1},
        {"attribute": "geometry", "setting": "micro_baseline"},
    ]  # fmt: skip
    assert len({key("independent", **other) for other in others}) == len(others)
    assert key("independent") == key("independent")
    assert len({key("shared", **other) for other in others}) == 2  # two seeds
