"""What was rendered is what a reader gets, and what a training step is fed with."""

import dataclasses
import hashlib
import os
import shutil

import msgspec
import numpy as np
import pytest
from PIL import Image

from experiments.data.agreement import Geometry, cross_view_agreement
from experiments.data.dataset import Dataset, StoredScene, Views
from experiments.data.geometry import project
from experiments.data.observations import stacked
from experiments.data.passes import Passes
from experiments.data.scene_folder import view_files, write_views
from experiments.data.tone_mapping import luminance
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from experiments.scenes import schema
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, SIZE, VIEWS, make_scene
from tests.experiments.rendering.stand_in_worker import BALL, FLOOR, RADIUS, trace
from vggt_jax.geometry import project_points, unproject_depth


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    output = tmp_path_factory.mktemp("datasets") / "out"
    runs.generate(output, SETTINGS, 1, 2, lambda: make_scene, lambda: LocalPool(COMMAND, 1))
    return Dataset(output / "dataset_00")


def traced(scene):
    return [trace(view, SIZE, SIZE) for view in schema.msgspec.to_builtins(make_scene(0, scene, 0).cameras)["views"]]


def test_arrays_are_what_was_rendered(dataset):
    assert len(dataset) == 2
    for number, scene in enumerate(dataset):
        views = scene.load()
        assert scene.spec == make_scene(0, number, 0)
        for view, (depth, normal, ids, point) in enumerate(traced(number)):
            seen = ids > 0
            assert 0.05 < (ids == BALL).mean() and 0.05 < (ids == FLOOR).mean() and not seen.all()
            np.testing.assert_array_equal(views.valid[view], seen)
            np.testing.assert_array_equal(views.depths[view], np.where(seen, depth, 0).astype(np.float32))
            np.testing.assert_array_equal(views.object_ids[view], ids)
            np.testing.assert_array_equal(views.glass[view], ids == BALL)
            rotation = views.extrinsics[view, :, :3]
            np.testing.assert_allclose(views.normals[view], normal @ rotation.T, atol=1e-3)
            assert (views.normals[view][~seen] == 0).all()
            np.testing.assert_allclose(views.world_points[view][seen], point[seen], atol=2e-5)
    views = dataset[0].load()
    on_ball = np.linalg.norm(views.world_points[views.object_ids == BALL], axis=-1)
    np.testing.assert_allclose(on_ball, RADIUS, atol=2e-5)


def test_the_hash_of_a_data_set_is_that_of_the_files_of_its_scenes(dataset):
    manifest = dataset.manifest
    records = list(manifest.scenes.values())
    lines = [f"{name} {value}\n" for record in records for name, value in sorted(record.files.items())]
    assert manifest.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert len(lines) == sum(len(record.files) for record in records) > 2 * VIEWS
    for number, (name, record) in enumerate(manifest.scenes.items()):
        file = sorted(record.files)[-1 - number]
        other = msgspec.structs.replace(record, files={**record.files, file: "0" * 64})
        changed = msgspec.structs.replace(manifest, scenes={**manifest.scenes, name: other})
        assert changed.sha256 != manifest.sha256


def test_images_are_the_light_under_one_exposure(dataset):
    views = dataset[1].load()
    point = np.stack([point for *_, point in traced(1)])
    linear = 3 * (0.5 + 0.4 * np.sin(5 * point + 1 + [0, 1, 2])) * views.valid[..., None]
    white = np.percentile(luminance(linear[views.valid]), 99)
    shown = np.clip(linear / white, 0, 1)
    srgb = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(views.images, 255 * srgb, atol=0.51)


def test_cameras_are_those_of_the_model_geometry(dataset):
    views = dataset[0].load()
    expected = unproject_depth(views.depths, views.extrinsics, views.intrinsics)
    np.testing.assert_allclose(views.world_points, expected, atol=1e-5)
    pixels, depth = project(views.world_points[0], views.extrinsics[1], views.intrinsics[1])
    same, same_depth = project_points(views.world_points[0].reshape(-1, 3), views.extrinsics[1], views.intrinsics[1])
    np.testing.assert_allclose(depth.ravel(), same_depth, atol=1e-5)
    np.testing.assert_allclose(pixels.reshape(-1, 2), same, atol=1e-3)


def test_a_few_views_are_read_in_the_order_asked_for(dataset, monkeypatch):
    everything = dataset[0].load()
    read, load = [], StoredScene._load_view
    monkeypatch.setattr(StoredScene, "_load_view", lambda self, view: read.append(view) or load(self, view))
    some = dataset[0].load([2, 0])
    assert sorted(read) == [0, 2]
    for field in dataclasses.fields(Views):
        np.testing.assert_array_equal(getattr(some, field.name), getattr(everything, field.name)[[2, 0]])
    for indices in ([3], [-1]):
        with pytest.raises(ValueError, match="has views 0 to 2"):
            dataset[0].load(indices)
    with pytest.raises(ValueError, match="no views asked for"):
        dataset[0].load([])


def test_samples_are_different_views_and_follow_the_generator(dataset):
    everything = dataset[0].load()
    firsts = set()
    for seed in range(20):
        sample = dataset[0].sample(2, np.random.default_rng(seed))
        np.testing.assert_array_equal(sample.images, dataset[0].sample(2, np.random.default_rng(seed)).images)
        places = [next(i for i in range(VIEWS) if (everything.extrinsics[i] == e).all()) for e in sample.extrinsics]
        assert len(set(places)) == 2
        firsts.add(places[0])
    assert firsts == set(range(VIEWS))
    with pytest.raises(ValueError, match="has 3 views, 4 were asked for"):
        dataset[0].sample(4, np.random.default_rng(0))


def test_training_sees_what_an_evaluation_sees(dataset):
    for scene in dataset:
        views = scene.load()
        for number in range(VIEWS):
            view = scene.observe(number)
            for of_one, of_all in (("image", "images"), ("depth", "depths")):
                found, expected = getattr(view, of_one), getattr(views, of_all)[number]
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)
            for name in ("valid", "intrinsics", "extrinsics"):
                np.testing.assert_array_equal(getattr(view, name), getattr(views, name)[number])
    with pytest.raises(ValueError, match="has views 0 to 2, not 3"):
        dataset[0].observe(VIEWS)


def test_batches_are_normalised_to_the_first_camera(dataset):
    batches = pytest.importorskip("experiments.training.batch")
    normalization = pytest.importorskip("experiments.training.normalization")
    views = dataset[0].load([1, 0])
    batch = batches.TrainingBatch(**stacked([dataset[0].observe(view) for view in (1, 0)], 1, 2))
    batch = normalization.normalize(batch)
    np.testing.assert_allclose(batch.extrinsics[0, 0], np.eye(3, 4), atol=1e-6)
    points = np.asarray(batch.world_points)[0][views.valid]
    assert np.linalg.norm(points, axis=-1).mean() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(
        batch.world_points[0, 0, ..., 2][views.valid[0]], batch.depths[0, 0][views.valid[0]], atol=1e-5
    )
    np.testing.assert_array_equal(batch.images[0], views.images.astype(np.float32) / 255)


@pytest.mark.parametrize(("count", "words"), [(1, "there is one in it, "), (5, "there are 5 in it, the first is ")])
def test_a_folder_of_data_sets_is_told_from_one(tmp_path, count, words):
    for number in range(count):
        (tmp_path / f"dataset_{number:02d}").mkdir()
        (tmp_path / f"dataset_{number:02d}" / "manifest.json").touch()
    with pytest.raises(ValueError, match=f"{words}{tmp_path}/dataset_00$"):
        Dataset(tmp_path)


def test_damage_is_named(dataset, tmp_path):
    folder = shutil.copytree(dataset.folder, tmp_path / "copy")
    Dataset(folder).verify()
    image, arrays = (folder / "scene_0001" / name for name in view_files(1))
    os.truncate(arrays, arrays.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"scene_0001/arrays/000001\.npz is damaged"):
        Dataset(folder)[1].load([1])
    with pytest.raises(ValueError, match=r"scene_0001/arrays/000001\.npz is damaged"):
        Dataset(folder)[1].observe(1)
    with pytest.raises(ValueError, match=r"scene_0001/arrays/000001\.npz is damaged"):
        Dataset(folder).verify()
    Dataset(folder)[1].load([0, 2])
    image.write_bytes(b"")
    for read in (lambda scene: scene.load([1]), lambda scene: scene.observe(1)):
        with pytest.raises((ValueError, OSError), match="000001"):
            read(Dataset(folder)[1])
    (folder / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        Dataset(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match="no finished data set"):
        Dataset(folder)


def test_views_agree_unless_a_convention_is_wrong(dataset):
    views = dataset[0].load()
    agreement = cross_view_agreement(Geometry.of(views))
    assert agreement.share > 0.97 and agreement.co_visible > 0.1 * views.valid.sum()
    shifted = views.intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], np.float32)
    assert cross_view_agreement(Geometry.of(dataclasses.replace(views, intrinsics=shifted))).share < 0.9
    longer = views.depths * np.array([1, 1.03, 1], np.float32)[:, None, None]
    assert cross_view_agreement(Geometry.of(dataclasses.replace(views, depths=longer))).share < 0.6
    moved = views.extrinsics.copy()
    moved[2, :, 3] += 0.05
    assert cross_view_agreement(Geometry.of(dataclasses.replace(views, extrinsics=moved))).share < 0.8


def test_masks_are_stored_when_given_and_all_valid_pixels_otherwise(dataset, tmp_path):
    views = dataset[0].load()
    np.testing.assert_array_equal(views.mask, views.valid)
    passes = [
        Passes(np.ones((*depth.shape, 3), np.float32), depth, normal.astype(np.float32), ids)
        for depth, normal, ids in zip(views.depths, views.normals, views.object_ids, strict=True)
    ]
    upper = np.arange(SIZE)[:, None] < SIZE // 2
    write_views(
        tmp_path,
        make_scene(0, 0, 0),
        passes.__getitem__,
        lambda view, passes: (passes.object_id != BALL) & (upper | view > 0),
    )
    stored = StoredScene(tmp_path, VIEWS).load()
    expected = views.valid & (views.object_ids != BALL)
    expected[0] &= upper
    np.testing.assert_array_equal(stored.mask, expected)
    assert 0 < stored.mask[0].sum() < stored.mask[1].sum() < stored.valid[1].sum()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0])
def test_impossible_depths_are_refused_with_the_file(dataset, tmp_path, wrong):
    folder = shutil.copytree(dataset[0].folder, tmp_path / "scene")
    path = folder / view_files(1)[1]
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["depth"][3, 4] = wrong
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match=r"arrays/000001\.npz has a depth that is not finite or negative"):
        StoredScene(folder, VIEWS).load()
    with pytest.raises(ValueError, match=r"arrays/000001\.npz has a depth that is not finite or negative"):
        StoredScene(folder, VIEWS).observe(1)
    StoredScene(folder, VIEWS).load([0, 2])


def test_files_are_readable_by_anyone(dataset):
    image, arrays = (dataset.folder / "scene_0000" / name for name in view_files(0))
    with Image.open(image) as picture, np.load(arrays) as stored:
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
        assert {name: stored[name].dtype.name for name in stored} == {
            "depth": "float32", "valid": "bool", "normal": "float16", "object_id": "uint16", "glass": "bool",
        }  # fmt: skip
