"""Which files of a folder are the photos, and what is said of the others."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.reconstruction import pipeline
from experiments.reconstruction.photos import Kind, find_photos
from subspace.errors import InputError


def photo(path, colour=90, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (colour, 40, 200)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    photo(tmp_path / "in" / "good.jpg")
    return tmp_path / "in"


def kinds(found):
    return {(kind, path.name) for kind, path in found.passed_over}


def test_what_is_passed_over_is_named_by_its_kind(folder):
    (folder / "notes.txt").write_text("hello")
    (folder / "clip.MOV").write_bytes(b"\0")
    (folder / "IMG_1.DNG").write_bytes(b"\0")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "round.jpg").symlink_to("round.jpg")
    (folder / "again.jpg").symlink_to("good.jpg")
    os.mkfifo(folder / "pipe.jpg")
    photo(folder / "left" / "a.png")
    (folder / "empty").mkdir()
    (folder / "._good.jpg").write_bytes(b"\0\5\x16\7")
    photo(folder / "contact_sheet.png")
    (folder / "manifest.json").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._good.jpg").write_bytes(b"\0\5\x16\7")
    found = find_photos(str(folder))
    assert [photo.name for photo in found.photos] == ["good.jpg"]
    assert kinds(found) == {
        (Kind.FOREIGN, "notes.txt"),
        (Kind.VIDEO, "clip.MOV"),
        (Kind.RAW, "IMG_1.DNG"),
        (Kind.BROKEN_LINK, "gone.jpg"),
        (Kind.BROKEN_LINK, "round.jpg"),
        (Kind.REPEATED, "again.jpg"),
        (Kind.SPECIAL, "pipe.jpg"),
        (Kind.FOLDER, "left"),
        (Kind.FOREIGN, "manifest.json"),
        (Kind.RESULT, "contact_sheet.png"),
    }
    assert len(found.remarks()) == len(Kind)


def test_links_that_lead_round_in_circles_multiply_nothing(folder):
    (folder / "loop").symlink_to(".")
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to("../..")
    (folder / "b.jpg").symlink_to(photo(folder.parent / "elsewhere" / "b.jpg"))
    found = find_photos(str(folder / "**" / "*.jpg"))
    assert [photo.name for photo in found.photos] == ["b.jpg", "good.jpg"]
    assert {kind for kind, _ in found.passed_over} == {Kind.REPEATED}


def test_the_folder_of_a_scene(tmp_path):
    photo(tmp_path / "scene" / "images" / "1.jpg")
    (tmp_path / "scene" / "sparse").mkdir()
    found = find_photos(str(tmp_path / "scene"))
    assert found.folder == tmp_path / "scene" / "images" and len(found.photos) == 1
    photo(tmp_path / "scene" / "own.jpg")
    found = find_photos(str(tmp_path / "scene"))
    assert [photo.name for photo in found.photos] == ["own.jpg"] and kinds(found) == {(Kind.FOLDER, "images")}


def test_nothing_but_folders(tmp_path):
    photo(tmp_path / "a" / "1.jpg")
    photo(tmp_path / "b" / "2.jpg")
    with pytest.raises(InputError, match=re.escape(f"the pattern '{tmp_path}/**/*' takes those")):
        find_photos(str(tmp_path))
    assert [photo.name for photo in find_photos(f"{tmp_path}/**/*").photos] == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("name", ["clip.mp4", "IMG_1.nef"])
def test_nothing_but_what_is_no_photo(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0" * 100)
    for images in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=rf"no images at .*: found only 1 .*{name}"):
            find_photos(str(images))


def test_first_frames_of_animations_but_not_of_stills(tmp_path):
    frames = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (0, 100, 200)]
    for name in ("a.gif", "b.webp", "c.png", "d.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "e.mpo", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "f.gif")
    animated = {photo.name: photo.animated for photo in find_photos(str(tmp_path)).photos}
    assert animated == {"a.gif": True, "b.webp": True, "c.png": True, "d.tif": True, "e.mpo": False, "f.gif": False}


NAMES = [
    "plain.jpg",
    "two words.jpg",
    "line\nbreak.jpg",
    "tab\t.jpg",
    "brackets [1].jpg",
    "star*.jpg",
    "question?.jpg",
    "percent%20.jpg",
    "quote'\".jpg",
    "back\\slash.jpg",
    "-dash.jpg",
    "comma,1.jpg",
    "фото.jpg",
    "写真.jpg",
    "😀.jpg",
    "e\u0301.jpg",
    "é.jpg",
    "ALL.JPG",
    "two.dots.jpg",
    "١٢.jpg",
    "$HOME.jpg",
    "x" * 251 + ".jpg",
    "é" * 125 + ".jpg",
]


def test_every_name_works_in_a_folder_and_as_an_argument(tmp_path):
    raw = [os.fsencode(name) for name in NAMES] + [b"caf\xe9.jpg", b"\xff\xfe.jpg", b"\x80" * 251 + b".jpg"]
    for name in raw:
        photo(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    found = find_photos(str(tmp_path))
    assert len(found.photos) == len(raw) and not found.passed_over
    by_path = {os.fsencode(photo.path.name): photo.name for photo in found.photos}
    assert by_path[b"caf\xe9.jpg"] == "caf%E9.jpg"
    for name in raw:
        written = by_path[name]
        written.encode()  # can be written into any file
        assert len(written.encode()) <= 251 and (
            len(name) > 240 or b"\xff" in name or b"\xe9" in name[:5] or written.encode() == name
        )
    for name in raw:
        (only,) = find_photos(os.path.join(tmp_path, os.fsdecode(name))).photos
        assert os.fsencode(only.path.name) == name


@pytest.mark.parametrize("name", [b"a [1]", b"star*", b"\xff", "фото".encode(), b"line\nbreak", b"~", b"-x"])
def test_every_name_works_as_a_folder(tmp_path, name):
    photo(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)) / "a.jpg")
    assert len(find_photos(os.path.join(tmp_path, os.fsdecode(name))).photos) == 1


def test_heic_is_named_where_it_cannot_be_read(folder, monkeypatch):
    from vggt_jax import pictures

    (folder / "IMG_1.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40))
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    pictures._register_heif.cache_clear()
    with pytest.raises(InputError, match=r"IMG_1\.HEIC.* pip install 'attribute-subspaces\[heic\]'"):
        find_photos(str(folder))


@pytest.mark.parametrize("name", ["x" * 255, "写" * 85, os.fsdecode(b"\xff" * 9), "line\nbreak", "..."])
def test_every_folder_gives_a_label_that_its_results_can_bear(tmp_path, name):
    label = pipeline._label(str(tmp_path / name))
    assert label == "photos" or re.fullmatch(r"[\w.-]{1,220}", label)
    (tmp_path / f".{label}-0123456789ab.01234567.partial").mkdir()
