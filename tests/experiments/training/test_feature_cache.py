import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.training.feature_cache import FeatureCache, encoder_hash, frozen_encoder
from tests.experiments.training import tiny
from vggt_jax.disk_space import DiskFullError


class Counting:
    """Tokens that name their image, and how many images were encoded."""

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        return images.reshape(len(images), -1, 3).astype(np.float32) + 0.5


def draw(count, seed=0, size=2):
    return np.random.default_rng(seed).integers(0, 256, size=(count, size, size, 3), dtype=np.uint8)


def test_every_image_is_encoded_once_and_in_its_place():
    encode, images = Counting(), draw(5)
    cache = FeatureCache(encode)
    order = [3, 0, 3, 4]
    np.testing.assert_array_equal(cache(images[order]), Counting()(images[order]))
    assert encode.images == 3
    np.testing.assert_array_equal(cache(images), Counting()(images))
    assert encode.images == 5


def test_same_bytes_in_another_shape_are_another_image():
    encode = Counting()
    cache = FeatureCache(encode)
    wide, high = draw(1).reshape(1, 1, 4, 3), draw(1).reshape(1, 4, 1, 3)
    for image in (wide, high):
        cache(image)
    assert encode.images == 2


def test_memory_keeps_the_last_used():
    encode, images = Counting(), draw(3)
    cache = FeatureCache(encode, memory_bytes=2 * 4 * 3 * 4)  # two images' tokens
    for part in (slice(0, 2), slice(0, 1), slice(2, 3)):  # the second goes
        cache(images[part])
    assert encode.images == 3
    cache(images[:1])
    assert encode.images == 3
    cache(images[1:2])
    assert encode.images == 4


def test_disk_is_read_by_the_next_run(tmp_path):
    images = draw(4)
    expected = FeatureCache(Counting(), folder=tmp_path)(images)
    encode = Counting()
    np.testing.assert_array_equal(FeatureCache(encode, folder=tmp_path, memory_bytes=0)(images), expected)
    assert encode.images == 0
    assert len(list(tmp_path.rglob("*.npy"))) == 4 and not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array at all"])
def test_damaged_file_is_written_anew(tmp_path, damage):
    images = draw(2)
    expected = FeatureCache(Counting(), folder=tmp_path)(images)
    victim = sorted(tmp_path.rglob("*.npy"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(damage or whole[:-5])
    np.testing.assert_array_equal(FeatureCache(Counting(), folder=tmp_path)(images), expected)
    assert victim.read_bytes() == whole


@pytest.mark.parametrize("place", [0, 60, 0.5, -5, -1])
def test_one_bit_that_changed_is_seen(tmp_path, place):
    images = draw(1)
    expected = FeatureCache(Counting(), folder=tmp_path)(images)
    [file] = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    np.testing.assert_array_equal(np.load(file), expected[0])
    changed = bytearray(whole)
    changed[place if isinstance(place, int) else int(place * len(whole))] ^= 1
    file.write_bytes(changed)
    encode = Counting()
    np.testing.assert_array_equal(FeatureCache(encode, folder=tmp_path)(images), expected)
    assert encode.images == 1 and file.read_bytes() == whole


def test_a_file_without_a_check_sum_is_written_anew(tmp_path):
    images = draw(1)
    expected = FeatureCache(Counting(), folder=tmp_path)(images)
    [file] = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    np.save(file, expected[0])  # as versions up to 0.2 wrote it
    encode = Counting()
    np.testing.assert_array_equal(FeatureCache(encode, folder=tmp_path)(images), expected)
    assert encode.images == 1 and file.read_bytes() == whole


def test_the_oldest_files_leave_a_full_folder(tmp_path):
    images = draw(6)
    tokens = Counting()(images)

    def kept():
        """Image → its file."""
        found = {path: np.load(path) for path in tmp_path.rglob("*.npy")}
        return {i: path for i in range(6) for path, stored in found.items() if np.array_equal(stored, tokens[i])}

    FeatureCache(Counting(), folder=tmp_path)(images[:4])
    for i, path in kept().items():
        os.utime(path, (1000 + i, 1000 + i))
    limit = sum(path.stat().st_size for path in kept().values())
    cache = FeatureCache(Counting(), folder=tmp_path, disk_bytes=limit)
    cache(images[4:5])
    assert set(kept()) == {1, 2, 3, 4}
    cache(images[5:])
    assert set(kept()) == {2, 3, 4, 5}
    cache(images[:1])
    assert set(kept()) == {0, 3, 4, 5}


def test_full_disk_is_named_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        write(path, bytes(content)[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    images, encode = draw(2), Counting()
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskFullError, match=f"^{tmp_path}/.*: no space left on device"):
            FeatureCache(encode, folder=tmp_path)(images)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    np.testing.assert_array_equal(FeatureCache(encode, folder=tmp_path)(images), Counting()(images))
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_threads_share_it():
    encode, images = Counting(), draw(40)
    cache = FeatureCache(encode, memory_bytes=500)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: cache(images[i % 40 : i % 40 + 1]), range(400)))
    expected = Counting()(images)
    assert all((tokens[0] == expected[i % 40]).all() for i, tokens in enumerate(found))


@pytest.fixture(scope="module")
def model():
    return tiny.draw_base()


def test_chunks_of_the_models_own_encoder(model):
    graphdef, base = model
    images = draw(5, size=16)
    found = frozen_encoder(graphdef, base, chunk=2)(images)
    expected = jax.jit(lambda x: nnx.merge(graphdef, base).aggregator.encode(x[None])[0])(images / np.float32(255))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (5, 16, 8) and found.dtype == np.float32


def test_hash_follows_the_encoder_only(model):
    _, base = model
    expected = encoder_hash(tiny.CONFIG, base)
    assert encoder_hash(tiny.CONFIG, tiny.draw_base()[1]) == expected
    assert encoder_hash(tiny.CONFIG, tiny.draw_base(seed=1)[1]) != expected

    def changed(part):
        def change(path, leaf):
            return leaf + 1 if part in jax.tree_util.keystr(path, simple=True, separator=".") else leaf

        return encoder_hash(tiny.CONFIG, jax.tree.map_with_path(change, base))

    assert changed("frame_blocks") == expected
    assert changed("patch_embed.pos_embed") != expected
