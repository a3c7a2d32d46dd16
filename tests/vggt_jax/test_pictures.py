"""One picture in every mode and depth that Pillow holds: the same colours, and transparency where there is some."""

import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, features

from subspace.errors import InputError
from vggt_jax import pictures
from vggt_jax.pictures import MOST_PIXELS, read_picture, suffixes, to_rgb
from vggt_jax.preprocessing import load_images_and_masks

SIZE = 24, 16


def grey():
    rows, columns = np.mgrid[0:16, 0:24]
    return (rows * 8 + columns * 5).astype(np.uint8)


def colours():
    """Smooth and pale, as every mode can hold them."""
    return np.stack([grey() // 2 + 60, 230 - grey() // 2, grey() // 4 + 90], axis=-1)


def hidden():
    mask = np.zeros((16, 24), bool)
    mask[4:10, 8:20] = True
    return mask


def on_white(rgb):
    return np.where(hidden()[..., None], 255, rgb)


def three(channel):
    return np.repeat(channel[..., None], 3, axis=-1)


def coloured(mode):
    return Image.fromarray(colours()).convert(mode)


def palette():
    """A picture of 16 colours, its indices and its colours."""
    indices = (np.arange(16 * 24).reshape(16, 24) // 24 % 16).astype(np.uint8)
    table = np.random.default_rng(0).integers(0, 255, (16, 3), dtype=np.uint8)
    image = Image.frombytes("P", SIZE, indices.tobytes())
    image.putpalette(table.tobytes())
    return image, indices, table


def with_alpha(rgb, mode):
    """Transparent where :func:`hidden`, with loud colours below."""
    loud = np.where(hidden()[..., None], [255, 0, 255], rgb).astype(np.uint8)
    return Image.fromarray(np.dstack([loud, np.where(hidden(), 0, 255).astype(np.uint8)])).convert(mode)


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [("RGB", 0), ("RGBX", 0), ("RGBA", 0), ("RGBa", 0), ("CMYK", 0), ("YCbCr", 3), ("HSV", 4), ("LAB", 9)],
)
def test_colour_modes(tmp_path, mode, tolerance):
    found = [to_rgb(coloured(mode))]
    if mode not in ("HSV", "RGBX", "RGBa"):  # which Pillow does not write
        coloured(mode).save(tmp_path / "a.tif")
        with pictures.opened(tmp_path / "a.tif") as image:
            assert image.mode == mode
        found.append(read_picture(tmp_path / "a.tif"))
    for picture in found:
        assert picture.colours.mode == "RGB" and picture.opacity is None
        assert np.abs(np.asarray(picture.colours).astype(int) - colours()).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "La"])
def test_grey_modes(mode):
    image = Image.fromarray(grey()).convert("LA").convert(mode)
    assert image.mode == mode
    picture = to_rgb(image)
    np.testing.assert_array_equal(picture.colours, three(grey()))
    assert picture.opacity is None


@pytest.mark.parametrize(
    ("kind", "white"), [(np.float32, 1), *((kind, white) for kind in ("u2", "i4", "f4") for white in (255, 65535))]
)
def test_deep_greys(kind, white):
    """The same picture whatever number stands for white."""
    picture = to_rgb(Image.fromarray((grey() * (white / 255)).astype(kind)))
    np.testing.assert_array_equal(picture.colours, three(grey()))
    assert picture.opacity is None


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".png", "<u2"), (".tif", "<u2"), (".tif", ">u2"), (".tif", "<i4"), (".tif", "<f4"), (".pgm", "<u2")],
)
def test_deep_files(tmp_path, suffix, kind):
    """Big-endian 16 bits are a mode of their own."""
    path = tmp_path / f"deep{suffix}"
    if kind == ">u2":
        Image.frombytes("I;16B", SIZE, (grey().astype(">u2") * 257).tobytes()).save(path)
    else:
        Image.fromarray(grey().astype(kind) * np.dtype(kind).type(257)).save(path)
    np.testing.assert_array_equal(read_picture(path).colours, three(grey()))


def test_one_bit_and_palettes(tmp_path):
    bits = Image.fromarray(grey() > 90)
    np.testing.assert_array_equal(to_rgb(bits).colours, three(np.where(grey() > 90, 255, 0)))
    image, indices, table = palette()
    np.testing.assert_array_equal(to_rgb(image).colours, table[indices])
    for transparency, opaque in ((3, indices != 3), (bytes([255, 0, 255, 0]), (indices != 1) & (indices != 3))):
        image.save(tmp_path / "a.png", transparency=transparency)
        picture = read_picture(tmp_path / "a.png")
        np.testing.assert_array_equal(np.asarray(picture.opacity) > 0, opaque)
        np.testing.assert_array_equal(picture.colours, np.where(opaque[..., None], table[indices], 255))


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "PA"])
def test_transparent_pixels_are_white_whatever_lies_below(mode):
    if mode == "PA":
        image, indices, table = palette()
        image = image.convert("PA")
        image.putalpha(Image.fromarray(np.where(hidden(), 0, 255).astype(np.uint8)))
        rgb = table[indices]
    else:
        image, rgb = with_alpha(colours(), mode), colours()
    assert image.mode == mode
    picture = to_rgb(image)
    np.testing.assert_array_equal(picture.colours, on_white(rgb))
    np.testing.assert_array_equal(np.asarray(picture.opacity) == 0, hidden())


@pytest.mark.parametrize("mode", ["LA", "La"])
def test_transparent_greys(mode):
    loud = np.where(hidden(), 77, grey()).astype(np.uint8)
    image = Image.merge("LA", [Image.fromarray(loud), Image.fromarray(np.where(hidden(), 0, 255).astype(np.uint8))])
    picture = to_rgb(image.convert(mode))
    np.testing.assert_array_equal(picture.colours, on_white(three(grey())))
    np.testing.assert_array_equal(np.asarray(picture.opacity) == 0, hidden())


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_one_colour_that_stands_for_transparent(tmp_path, mode):
    values = {"L": grey(), "RGB": colours(), "1": grey() > 90, "I;16": grey().astype(np.uint16) * 257}[mode]
    key = {"L": 201, "RGB": (1, 2, 3), "1": 1, "I;16": 201 * 257}[mode]
    values[hidden()] = key
    image = Image.fromarray(values)
    assert image.mode == mode
    transparent = (values == key).reshape(16, 24, -1).all(axis=-1)
    image.save(tmp_path / "a.png", transparency=255 if mode == "1" else key)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(picture.opacity) == 0, transparent)
    assert (np.asarray(picture.colours)[transparent] == 255).all()


@pytest.mark.parametrize("values", [[-1.0, 2.0], [0.0, 70000.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_numbers_without_a_known_white(values):
    with pytest.raises(InputError):
        to_rgb(Image.fromarray(np.array([values], np.float32)))


def test_masks_leave_out_transparent_pixels_and_filling(tmp_path):
    rgb = np.full((40, 80, 3), 90, np.uint8)
    alpha = np.full((40, 80), 255, np.uint8)
    alpha[:, :40] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    images, masks = load_images_and_masks([tmp_path / "a.png"], "pad", 80, 8)
    expected = np.zeros((80, 80), bool)
    expected[20:60, 40:] = True
    assert (masks[0] != expected).sum() <= 40  # the edge may fall to either side of a pixel
    assert (images[0][~expected & ~masks[0]] == 1).mean() > 0.9
    Image.fromarray(rgb).save(tmp_path / "a.png")
    _, masks = load_images_and_masks([tmp_path / "a.png"], "crop", 80, 8)
    assert masks.all() and masks.shape == (1, 40, 80)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_with_their_pictures(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with_alpha(colours(), "RGBA").save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png", upright=True)
    assert picture.opacity is not None
    np.testing.assert_array_equal(np.asarray(picture.opacity) == 0, (np.asarray(picture.colours) == 255).all(axis=-1))
    assert picture.colours.size == (SIZE if orientation < 5 else SIZE[::-1])


def huge_png(path, width, height):
    """A black picture of one bit a pixel: hundreds of megapixels in kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.slow
def test_two_hundred_megapixels(tmp_path):
    huge_png(tmp_path / "huge.png", 16384, 12288)
    usual = Image.MAX_IMAGE_PIXELS
    images, _ = load_images_and_masks([tmp_path / "huge.png"], size=28)
    assert images.shape == (1, 28, 28, 3) and not images.any()
    assert usual == Image.MAX_IMAGE_PIXELS


def test_more_pixels_than_anything_has(tmp_path):
    huge_png(tmp_path / "bomb.png", 8, 8)
    data = (tmp_path / "bomb.png").read_bytes()
    header = b"IHDR" + struct.pack(">IIBBBBB", 40000, 40000, 1, 0, 0, 0, 0)
    changed = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    (tmp_path / "bomb.png").write_bytes(changed)
    with pytest.raises(InputError, match=f"{MOST_PIXELS:,}"):
        read_picture(tmp_path / "bomb.png")


HEIF = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".gif", ".avif", ".jp2"])
def test_damaged_files_are_one_line(tmp_path, suffix):
    """Whatever the decoder raises."""
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    rng, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    coloured("RGB").save(path)
    whole = path.read_bytes()
    for _ in range(30):
        damaged = bytearray(whole[: rng.integers(len(whole) // 2, len(whole))])
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            read_picture(path, upright=True)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n", "PostScript"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "macOS"),
        (b"hello", "not a picture"),
    ],
)
def test_what_a_file_is_instead(tmp_path, content, message):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_picture(tmp_path / "a.jpg")


def test_heic_without_its_library(tmp_path, monkeypatch):
    (tmp_path / "IMG_1.jpg").write_bytes(HEIF)  # as phones and messengers name them
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pictures._register_heif.cache_clear()
    with pytest.raises(InputError, match=r"attribute-subspaces\[heic\]"):
        read_picture(tmp_path / "IMG_1.jpg")


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(coloured("RGB").resize((96, 64))).save(tmp_path / "IMG_1.heic", quality=95)
    (tmp_path / "IMG_2.jpg").write_bytes((tmp_path / "IMG_1.heic").read_bytes())
    for path in tmp_path.iterdir():
        found = np.asarray(read_picture(path).colours.resize(SIZE)).astype(int)
        assert np.abs(found - colours()).mean() < 4


def test_suffixes():
    wanted = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".pgm", ".jp2"}
    assert wanted <= suffixes() and not {".pdf", ".eps", ".mpg", ".h5"} & suffixes()
    assert features.check("avif") == (".avif" in suffixes())
