"""docs/inputs.md: each row of its tables is made as a small file and read, and each line is the one that is printed."""

import json
import os
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load_file, save_file

from experiments.reconstruction.photos import find_photos
from experiments.reconstruction.records import DEPTH_UNIT
from subspace.errors import InputError
from vggt_jax import pictures
from vggt_jax.pictures import read_picture, to_rgb
from weights_convert.checkpoint import open_checkpoint

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "tests" / "fixtures" / "vggt_small"


def rows(heading):
    """The cells of the table whose header begins with ``heading``."""
    lines = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8").split(f"\n| {heading} |", 1)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[: lines.index("")]]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (90, 40, 200)).save(path)


def layouts(folder):
    """Argument and names of the photos for each row."""
    for name in ("1.jpg", "10.jpg", "2.png", "sub/a.jpg", "._a.jpg", "__MACOSX/._a.jpg", "scene/images/b.jpg"):
        picture(folder / "photos" / name) if "scene" not in name else picture(folder / name)
    (folder / "photos" / "sub" / "loop").symlink_to("..")
    odd = ["two words.jpg", "line\nbreak.jpg", "[1].jpg", "写真.jpg", os.fsdecode(b"caf\xe9.jpg")]
    for name in odd:
        picture(folder / "odd" / name)
    picture(folder / "twice" / "a.jpg")
    (folder / "twice" / "b.jpg").symlink_to("a.jpg")
    photos = folder / "photos"
    return [
        (photos, {"1.jpg", "2.png", "10.jpg"}),
        (folder / "scene", {"b.jpg"}),
        (photos / "1.jpg", {"1.jpg"}),
        (photos / "*.jpg", {"1.jpg", "10.jpg"}),
        (photos / "**" / "*.jpg", {"1.jpg", "10.jpg", "sub/a.jpg"}),
        (folder / "odd", {*odd[:-1], "caf%E9.jpg"}),
        (photos, {"1.jpg", "2.png", "10.jpg"}),
        (folder / "twice", {"a.jpg"}),
    ]


def test_layouts(tmp_path):
    expected = layouts(tmp_path)
    assert len(rows("layout")) == len(expected)
    for place, names in expected:
        assert {photo.name for photo in find_photos(str(place)).photos} == names


GREY = (np.mgrid[0:8, 0:12].sum(0) * 10 + 20).astype(np.uint8)
COLOUR = np.stack([GREY // 2 + 60, 200 - GREY // 2, GREY // 4 + 90], axis=-1)
ALPHA = np.where(np.arange(12) < 6, 255, 0).astype(np.uint8) * np.ones((8, 1), np.uint8)


def of_mode(mode, tmp_path):
    """The picture in a mode of the table, from a file where Pillow writes one."""
    if mode == "I;16B":
        image = Image.frombytes(mode, (12, 8), (GREY.astype(">u2") * 257).tobytes())
    elif mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(GREY.astype(kind) * kind(257))
    elif mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = Image.fromarray(COLOUR if mode.startswith("R") else GREY).convert("P" if mode == "PA" else "RGBA")
        image.putalpha(Image.fromarray(ALPHA))
        image = image if mode == "PA" else image.convert(mode if mode != "La" else "LA").convert(mode)
    else:
        image = Image.fromarray(GREY if mode in ("1", "L", "P") else COLOUR)
        image = image.convert(mode, dither=Image.Dither.NONE)
    assert image.mode == mode
    if mode in ("La", "RGBa", "HSV", "RGBX"):
        return to_rgb(image)
    image.save(tmp_path / "a.tif")
    return read_picture(tmp_path / "a.tif")


def test_modes(tmp_path):
    for mode, *_ in rows("mode (Pillow)"):
        name, masked = re.findall(r"`(.*?)`", mode)[0], "transparen" in mode
        if masked:
            image = Image.fromarray(COLOUR if name == "RGB" else GREY).convert(name)
            colour = tuple(map(int, COLOUR[3, 4])) if name == "RGB" else image.getpixel((4, 3))
            image.save(tmp_path / "a.png", transparency=colour)
            found = read_picture(tmp_path / "a.png")
            assert found.opacity is not None and found.opacity.getpixel((4, 3)) == 0
            assert found.colours.getpixel((4, 3)) == (255, 255, 255)
            continue
        found = of_mode(name, tmp_path)
        grey = name in ("1", "L", "LA", "La", "P", "PA", "I", "F") or name.startswith("I;16")
        expected = np.repeat(GREY[..., None], 3, axis=-1) if grey else COLOUR
        if name == "1":
            expected = np.where(expected > 127, 255, 0)
        seen = ALPHA > 0 if found.opacity is not None else np.ones((8, 12), bool)
        assert (found.opacity is not None) == (name in ("LA", "La", "PA", "RGBA", "RGBa"))
        difference = np.abs(np.asarray(found.colours).astype(int) - expected)[seen]
        assert difference.max() <= (9 if name == "LAB" else 4), name


def test_check_points(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in load_file(SMALL / "weights.safetensors").items()}
    half = {name: tensor.half() if "norm" in name else tensor for name, tensor in state.items()}
    made = [
        ("model.safetensors", None),
        ("model.safetensors.index.json", None),
        ("a.ckpt", state),
        ("b.pt", {"model": state, "optimizer": {"state": {}}, "ema": state}),
        ("c.pth", {"a": {"b": state}}),
        ("d.bin", {f"model.module.{name}": tensor for name, tensor in state.items()}),
        ("e.pt", {f"_orig_mod.{name}": tensor for name, tensor in state.items()}),
        ("f.pt", half),
        ("folder", state),
    ]
    described = rows("check point")
    assert len(described) == len(made) + 1  # the hub's is tests/weights_convert/test_trained.py's
    for name, content in made:
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        shutil.copy(SMALL / "config.json", folder)
        if content is not None:
            torch.save(content, folder / (name if "." in name else "only.pt"))
        else:
            shutil.copy(SMALL / "weights.safetensors", folder / "model.safetensors")
            places = dict.fromkeys(state, "model.safetensors")
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        source = folder / name if "." in name else folder
        assert open_checkpoint(source, dtype="float32").size == 1_749_436, name


def refusals(folder):
    """What is given in each row of the table, made in ``folder``."""
    torch = pytest.importorskip("torch")

    def written(name, content):
        (folder / name).write_bytes(content)
        return folder / name

    def saved(name, content, **options):
        torch.save(content, folder / name, **options)
        return folder / name

    def safetensors(name, *tensors):
        save_file({tensor: np.zeros(3, np.float32) for tensor in tensors}, folder / name)
        return folder / name

    def depth_map(path):
        info = PngInfo()
        info.add_text(DEPTH_UNIT, "0.1")
        Image.new("I;16", (4, 4)).save(path, pnginfo=info)
        return path

    (folder / "empty").mkdir()
    (folder / "photo").mkdir()
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    cut = saved("cut.pt", {"a": torch.zeros(5000)})
    cut.write_bytes(cut.read_bytes()[:-5000])
    return [
        folder / "empty",
        folder / "photos",
        depth_map(folder / "map.png"),
        written("clip.mp4", b"x"),
        written("IMG_1.dng", b"x"),
        written("a.jpg", b""),
        written("b.jpg", b"<html>"),
        written("c.jpg", pointer),
        written("d.heic", b"\x00\x00\x00\x18ftypheic" + bytes(40)),
        safetensors("dino.safetensors", "blocks.0.ls1.gamma"),
        safetensors("lora.safetensors", "aggregator.a.lora_A.weight"),
        saved("args.pt", {"args": types.SimpleNamespace()}),
        saved("old.pt", {"a": torch.zeros(3)}, _use_new_zipfile_serialization=False),
        cut,
        written("pointer.pt", pointer),
    ]


def test_refusals(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pictures._register_heif.cache_clear()
    given = refusals(tmp_path)
    described = rows("given")
    assert len(given) == len(described)
    for path, (_, line) in zip(given, described, strict=True):
        with pytest.raises(InputError) as caught:
            open_checkpoint(path) if path.suffix in (".pt", ".safetensors") else find_photos(str(path))
        assert f"`{caught.value}`".replace(str(path), "FILE") == line
