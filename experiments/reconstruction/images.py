"""The photos as programs open them that read COLMAP models: upright, as JPEG or PNG, under names that all of them take."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from experiments.reconstruction.photos import Photo, share_names
from subspace.errors import InputError
from vggt_jax import pictures
from vggt_jax.pictures import UPRIGHT

FOLDER, TABLE = "images", "photos.csv"
"""Where the images lie, and the table that says which photo each of them is."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "HEIF", "AVIF", "JPEG2000"})
"""Pillow's names of formats whose photos are large as PNG and lose nothing that is seen as JPEG."""
_COLOURS_AS_STORED = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa"})
"""Modes whose colour profile still holds once the photo is RGB."""
_QUALITY = 95
_AT_ONCE = 2
"""Photos that are turned at the same time: more would need much memory."""


@dataclass(frozen=True)
class UprightImage:
    """How a photo becomes an image."""

    photo: Photo
    """What is given."""
    name: str
    """File name of the image."""
    as_stored: bool
    """Whether the photo's file is copied."""
    depth: str
    """Name of the photo's depth maps, without suffix."""


def upright_images(photos: Sequence[Photo]) -> list[UprightImage]:
    """An image for each photo.

    Photos keep their names, if all of these are plain: letters from A to Z, digits, ``-`` and ``_``, and no folders. Other
    ones are numbered, ``0001.jpg`` for the first, and so are photos of which two have one name but for the suffix, the latter
    in their depth maps too. A photo that is stored upright, as JPEG or PNG in RGB, is copied; others are
    written anew, as JPEG or PNG in colour.
    """
    clash = share_names(photos)
    plain = not clash and all(_PLAIN.fullmatch(photo.stem) for photo in photos)
    digits = max(4, len(str(len(photos))))
    found = []
    for number, photo in enumerate(photos, start=1):
        kind, as_stored = _kind(photo)
        suffix = photo.path.suffix
        if suffix.lower() not in _SUFFIXES[kind]:
            suffix = _SUFFIXES[kind][0]
        numbered = f"{number:0{digits}d}"
        name = (photo.stem if plain else numbered) + suffix
        found.append(UprightImage(photo, name, as_stored, numbered if clash else photo.stem))
    return found


def write_images(folder: Path, images: Sequence[UprightImage]) -> None:
    """Make ``folder`` with all images, and beside it the table of their photos.

    Raises:
        InputError: a photo that can no longer be decoded.
        OSError: a file that cannot be read or written.
    """
    folder.mkdir()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda image: _write(folder / image.name, image), images):
            pass
    with (folder.parent / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "photo", "depth", "width", "height", "turned"])
        for image in images:
            photo = image.photo
            turned = "no" if photo.orientation == UPRIGHT else "yes"
            names = f"{folder.name}/{image.name}", photo.name, f"depth/{image.depth}.png"
            table.writerow([*names, photo.width, photo.height, turned])


def _write(path: Path, image: UprightImage) -> None:
    if image.as_stored:
        shutil.copyfile(image.photo.path, path)
        return
    try:
        with pictures.opened(image.photo.path) as stored:
            profile = stored.info.get("icc_profile") if stored.mode in _COLOURS_AS_STORED else None
        picture = pictures.read_picture(image.photo.path, upright=True)
    except InputError as error:  # it has changed since it was loaded
        raise InputError(f"cannot read image {image.photo.path}: {error}") from error
    if path.suffix.lower() in _SUFFIXES["JPEG"]:
        picture.colours.save(path, quality=_QUALITY, subsampling=0, icc_profile=profile)
        return
    if picture.opacity is not None:
        picture.colours.putalpha(picture.opacity)
    picture.colours.save(path, icc_profile=profile)


def _kind(photo: Photo) -> tuple[str, bool]:
    """The format of a photo's image, and whether the photo's file has it already."""
    with pictures.opened(photo.path) as image:
        lossy = image.format in _LOSSY and not image.has_transparency_data
        # some readers want at least three channels
        common = (image.mode == "RGB" and image.format in ("JPEG", "MPO", "PNG")) or (image.mode, image.format) == (
            "RGBA",
            "PNG",
        )
        as_stored = photo.orientation == UPRIGHT and common
    return "JPEG" if lossy else "PNG", as_stored
