"""Views in memory and from disk, by several threads."""

import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile

import numpy as np
import pytest
from PIL import Image

from experiments.data.observations import Observation, ViewReader, read_at_once, read_maps, read_picture, stacked

SIDE = 4
BYTES = SIDE * SIDE * (3 + 4 + 1)
"""Of one view."""


@dataclass(frozen=True)
class CountedScene:
    """Notes in ``read`` what it is asked for; view 9 is damaged."""

    number: int
    num_views = 10
    read: ClassVar = []

    def observe(self, view):
        self.read.append((self.number, view))
        if view == 9:
            raise ValueError(f"scene {self.number} is damaged in view 9")
        return Observation(
            image=np.full((SIDE, SIDE, 3), view, np.uint8),
            depth=np.full((SIDE, SIDE), self.number, np.float32),
            valid=np.ones((SIDE, SIDE), bool),
            intrinsics=np.eye(3, dtype=np.float32),
            extrinsics=np.eye(3, 4, dtype=np.float32),
        )


@pytest.fixture(autouse=True)
def read():
    CountedScene.read.clear()
    return CountedScene.read


def asked(*views):
    return [(CountedScene(scene), view) for scene, view in views]


def marks(observations):
    return [(int(each.depth[0, 0]), int(each.image[0, 0, 0])) for each in observations]


def test_views_come_in_the_order_asked_for_and_are_read_once(read):
    reader, views = ViewReader(), [(1, 3), (0, 3), (1, 3), (0, 8), (1, 0)]
    assert marks(reader(asked(*views))) == views
    assert sorted(read) == sorted(set(views))
    assert marks(reader(asked((0, 8), (2, 2)))) == [(0, 8), (2, 2)]
    assert read.count((0, 8)) == 1 and read.count((2, 2)) == 1


def test_views_beyond_the_memory_are_read_again(read):
    reader = ViewReader(memory_bytes=2 * BYTES + 1)
    for _ in range(3):
        assert marks(reader(asked((0, 0), (0, 1), (0, 2)))) == [(0, 0), (0, 1), (0, 2)]
    assert [read.count((0, view)) for view in range(3)] == [1, 1, 3]


def test_damage_is_raised_and_not_remembered(read):
    reader = ViewReader()
    for _ in range(2):
        with pytest.raises(ValueError, match="scene 1 is damaged in view 9"):
            reader(asked((0, 1), (1, 9)))
    assert read.count((1, 9)) == 2


def test_nothing_is_read_any_more_once_damage_is_raised():
    begun, ended, reads = threading.Event(), threading.Event(), []

    def read(number):
        reads.append(number)
        if number == 0:
            begun.wait(10)
            raise ValueError("number 0 is damaged")
        begun.set()
        ended.wait(0.2)
        reads.append("end")
        return number

    with pytest.raises(ValueError, match="number 0 is damaged"):
        read_at_once(read, range(1000))
    found = list(reads)
    ended.wait(0.4)
    assert reads == found
    assert found.count("end") == len(found) - found.count("end") - 1 < 20


def test_several_threads_may_ask_at_once():
    reader, barrier = ViewReader(memory_bytes=5 * BYTES), threading.Barrier(4)
    views = [(scene, view) for scene in range(3) for view in range(8)]

    def ask(_):
        barrier.wait()
        return marks(reader(asked(*views)))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [views] * 4


def test_stacks_have_axes_in_front_and_one_size():
    views = ViewReader()(asked(*((scene, view) for scene in range(2) for view in range(6))))
    arrays = stacked(views, 2, 3, 2)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "images": ((2, 3, 2, SIDE, SIDE, 3), np.uint8),
        "depths": ((2, 3, 2, SIDE, SIDE), np.float32),
        "point_masks": ((2, 3, 2, SIDE, SIDE), bool),
        "extrinsics": ((2, 3, 2, 3, 4), np.float32),
        "intrinsics": ((2, 3, 2, 3, 3), np.float32),
    }
    np.testing.assert_array_equal(arrays["images"][1, ..., 0, 0, 0], [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(arrays["depths"][..., 0, 0], np.broadcast_to([[[0]], [[1]]], (2, 3, 2)))
    small = Observation(
        np.zeros((2, 2, 3), np.uint8), *(np.zeros((2, 2)),) * 2, views[0].intrinsics, views[0].extrinsics
    )
    with pytest.raises(ValueError, match="one size"):
        stacked([views[0], small], 1, 2)


def test_pictures_are_those_that_pillow_reads(tmp_path, monkeypatch):
    path = tmp_path / "a b%{}.png"
    pixels = np.random.default_rng(0).integers(0, 256, (37, 23, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to(path)
    monkeypatch.setattr(Image, "open", None)  # which is far slower
    for name in (path, path.name, f"./inner/../{path.name}", "link"):
        np.testing.assert_array_equal(read_picture(Path(name)), pixels)
    monkeypatch.undo()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises((ValueError, OSError)):
        read_picture(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_picture(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_maps_are_those_that_numpy_reads_and_a_changed_bit_is_seen(tmp_path, monkeypatch, save):
    path, rng = tmp_path / "a b%{}.npz", np.random.default_rng(0)
    depth, valid = rng.normal(size=(30, 20)).astype(np.float32), rng.uniform(size=(30, 20)) < 0.5
    save(path, depth=depth, other=np.arange(3), valid=valid)
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", None)  # which is slower
        for found, expected in zip(read_maps(path, "valid", "depth"), (valid, depth), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    whole = path.read_bytes()
    for place in rng.integers(100, 1000, size=40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        with pytest.raises((ValueError, BadZipFile, zlib.error)):
            read_maps(path, "depth", "valid")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_maps(path, "depth")
