from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from experiments.data.observations import Observation
from experiments.training.augmentation import ColorAugmentation
from experiments.training.sampling import BatchSampler, view_counts


@dataclass(frozen=True)
class MarkedScene:
    """Every array of view v says which data set, scene and view it is of."""

    dataset: int
    number: int
    num_views: int = 16

    def observe(self, view):
        marks = np.array([self.dataset, self.number, view], np.uint8)
        return Observation(
            image=np.broadcast_to(marks, (4, 4, 3)),
            depth=np.full((4, 4), view, np.float32),
            valid=np.ones((4, 4), bool),
            intrinsics=np.eye(3, dtype=np.float32),
            extrinsics=np.eye(3, 4, dtype=np.float32),
        )


def sampler(datasets=(0, 1), scenes=12, **changes):
    settings = {"images": 32, "counts": (4, 8, 16), "seed": 3} | changes
    return BatchSampler({i: [MarkedScene(i, j) for j in range(scenes)] for i in datasets}, **settings)


def marks(batch):
    """(k, B, S, 3): data set, scene and view."""
    return batch.images[..., 0, 0, :].astype(int)


def test_view_counts_are_few_and_divide():
    assert view_counts(32) == (4, 8, 16)
    assert view_counts(8, fewest=2, most=8) == (2, 4, 8)
    with pytest.raises(ValueError, match="no number of views from 4 to 16 divides 17 images"):
        view_counts(17)
    with pytest.raises(ValueError, match="images must be a multiple of 4, the views of a sequence, got 7"):
        view_counts(7, fewest=4, most=4)


def test_batches_have_the_images_of_scenes_without_repetition():
    draw, shapes = sampler(), set()
    for step in range(30):
        batch = draw(step)
        k, b, s = batch.images.shape[:3]
        shapes.add((b, s))
        found = marks(batch)
        assert (k, b * s) == (2, 32)
        assert (found[0, ..., 0] == 0).all() and (found[1, ..., 0] == 1).all()
        for adapter in found:
            assert len({tuple(sequence[:, 1]) for sequence in adapter}) == b  # other scenes
            for sequence in adapter:
                assert len(set(sequence[:, 1])) == 1 and len(set(sequence[:, 2])) == s
        np.testing.assert_array_equal(batch.depths[..., 0, 0], found[..., 2])
        assert batch.images.dtype == np.uint8 and batch.point_masks.dtype == bool
        assert batch.world_points is None and batch.patch_tokens is None
    assert shapes == {(8, 4), (4, 8), (2, 16)}


def test_all_scenes_and_first_views_come_up_evenly():
    draw = sampler(datasets=(5,), counts=(4,))
    found = np.concatenate([marks(draw(step))[0] for step in range(150)])
    scenes = np.bincount(found[:, 0, 1], minlength=12)
    firsts = np.bincount(found[:, 0, 2], minlength=16)
    assert scenes.min() > 60 and scenes.max() < 140  # 100 each
    assert firsts.min() > 40 and firsts.max() < 115  # 75 each


@pytest.mark.parametrize("dataset", [0, 5])
def test_the_number_of_views_says_nothing_about_the_scenes(dataset):
    """Counts of (views, first scene) over steps against independence; data set 0 once drew both from the same numbers."""
    draw = sampler(datasets=(dataset,))
    found = [marks(draw(step))[0] for step in range(600)]
    table = np.zeros((3, 3))
    for batch in found:
        table[(4, 8, 16).index(batch.shape[1]), batch[0, 0, 1] // 4] += 1
    independence: Any = chi2_contingency(table)
    assert independence.pvalue > 0.01 and (table.sum(axis=1) > 150).all()


def test_a_batch_depends_on_seed_step_and_adapter_alone():
    draw = sampler()
    later = marks(draw(7))
    np.testing.assert_array_equal(marks(sampler()(7)), later)
    np.testing.assert_array_equal(marks(sampler(datasets=(1,))(7))[0], later[1])
    assert not np.array_equal(marks(sampler(seed=4)(7)), later)
    assert not np.array_equal(later[0, ..., 1:], later[1, ..., 1:])


def test_what_a_step_sees_is_what_it_always_saw():
    """Scenes and views of each sequence's beginning, and all of them in one number. With one number of views it is what
    version 0.2 drew."""
    seen = {
        ((4,), 0): ((7, [4, 5, 3, 10]), (5, [11, 8, 13, 5]), 14424133),
        ((4,), 7): ((3, [13, 12, 3, 9]), (3, [9, 6, 8, 11]), 16630592),
        ((4,), 123): ((9, [2, 13, 12, 0]), (7, [8, 15, 11, 6]), 15848251),
        ((4, 8, 16), 123): ((7, [6, 2, 11, 10]), (5, [9, 7, 4, 11]), 15114832),
    }
    for (counts, step), (*beginnings, everything) in seen.items():
        found = marks(sampler(counts=counts)(step))
        for adapter, (scene, views) in zip(found, beginnings, strict=True):
            assert (adapter[0, :, 1] == scene).all() and adapter[0, :4, 2].tolist() == views
        assert (np.asarray(found).reshape(-1, 3) @ [7, 31, 1009]).cumsum().sum() == everything


def test_few_scenes_repeat():
    assert marks(sampler(scenes=3, counts=(4,))(0)).shape == (2, 8, 4, 3)


def test_augmentation_is_each_adapters_own():
    augmentation = ColorAugmentation()
    plain, changed = sampler()(2), sampler(augmentation=augmentation)(2)
    assert changed.images.dtype == np.float32 and not np.allclose(plain.images / 255, changed.images)
    np.testing.assert_array_equal(plain.depths, changed.depths)
    alone = sampler(datasets=(1,), augmentation=augmentation)(2)
    np.testing.assert_array_equal(alone.images[0], changed.images[1])


def test_tokens_are_those_of_the_images():
    def encode(pixels):
        assert pixels.dtype == np.uint8
        return pixels.reshape(len(pixels), 4, -1)[..., :3].astype(np.float32)

    batch = sampler(encode=encode)(0)
    assert batch.patch_tokens is not None
    np.testing.assert_array_equal(batch.patch_tokens[..., 0, :], marks(batch))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ()}, "every adapter needs at least one scene"),
        ({"scenes": 0}, "every adapter needs at least one scene"),
        ({"counts": (5,)}, r"view counts \(5,\) must divide 32 images"),
        ({"counts": (4, 32)}, "data set 0, scene 0: has 16 views, 32 are needed"),
        ({"augmentation": ColorAugmentation(), "encode": lambda x: x}, "cannot be cached"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        sampler(**changes)


def test_the_scene_with_too_few_views_is_named():
    draw = sampler()
    datasets = {**draw.datasets, 1: [replace(scene, num_views=3) for scene in draw.datasets[1]]}
    with pytest.raises(ValueError, match="data set 1, scene 0: has 3 views"):
        replace(draw, datasets=datasets)
