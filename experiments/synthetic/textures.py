"""The user's own textures: any folder of pictures, or of the PBR maps of materials (MatSynth, ambientCG, …)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from experiments.process.cores import available_cores
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Mapping, Picture
from subspace.errors import InputError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
_MAPS = {
    "color": ("basecolor", "base_color", "albedo", "diffuse", "color", "colour", "diff", "col"),
    "normal": ("normalgl", "normal_gl", "normal_opengl", "nor_gl", "normal", "nor"),
    "roughness": ("roughness", "rough"),
    "metallic": ("metalness", "metallic", "metal"),
}
"""Last words of the names of a material's maps, in the order in which they are preferred."""
_OTHER_MAPS = frozenset(
    "normaldx normal_dx nor_dx normal_directx displacement disp height bump ao ambientocclusion ambient_occlusion specular "
    "spec opacity alpha emission emissive blend_mask mask preview thumbnail arm".split()
)
"""Maps that are not used, and must not be taken for pictures where a folder holds materials."""
_KINDS = "|".join(sorted({*_OTHER_MAPS, *(name for names in _MAPS.values() for name in names)}, key=len, reverse=True))
_NAME = re.compile(
    # a separator or a capital starts the map's name: "farm" is no "arm" map
    rf"(?:(?P<material>.*?)(?:[\s_.-]+|(?-i:(?<=[a-z0-9])(?=[A-Z]))))?(?P<kind>{_KINDS})(?:[\s_-]*\d+k)?",
    re.IGNORECASE,
)
_UNIT_MAPPING = Mapping(repeats=1.0)


def find_textures(folder: Path, reporter: Reporter = SILENT) -> list[Picture]:
    """Find, read and hash all textures below a folder.

    Files whose names end in the name of a PBR map, such as ``Wood01_2K-JPG_NormalGL.jpg`` or ``wood/basecolor.png``, belong
    together if their folder and the rest of their name agree; a material without a colour map is passed over. All other
    pictures are textures of their own.

    Args:
        folder: of the textures, at any depth.
        reporter: is told of progress.

    Returns:
        In the order of their paths. The mapping repeats once a metre; scenes replace it.

    Raises:
        InputError: there are no pictures, or one cannot be decoded.
        OSError: the folder cannot be read.
    """
    materials = _group(texture_files(folder))
    if not materials:
        raise InputError(f"{folder} holds no pictures")
    found = []
    with (
        ThreadPoolExecutor(len(available_cores())) as threads,
        reporter.progress(len(materials), " textures", "checking textures") as bar,
    ):
        hashes = threads.map(lambda maps: _sha256_of_decodable(maps.values()), materials)
        for maps, sha256 in zip(materials, hashes, strict=True):
            names = {kind: str(path) for kind, path in maps.items()}
            found.append(Picture(mapping=_UNIT_MAPPING, sha256=sha256, **names))
            bar.update()
    return found


def texture_files(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths.

    Raises:
        InputError: it is no folder.
        OSError: it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder.absolute(), onerror=_raise, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
    )


def _group(pictures: Sequence[Path]) -> list[dict[str, Path]]:
    """Maps by kind, for each material in the order of its first file."""
    materials: dict[tuple[Path, str], dict[str, tuple[int, Path]]] = {}
    for path in pictures:
        name = _NAME.fullmatch(path.stem)
        if name is None:
            materials[path, ""] = {"color": (0, path)}
            continue
        maps = materials.setdefault((path.parent, _without_resolution(name["material"] or "")), {})
        for kind, names in _MAPS.items():
            if (word := name["kind"].lower()) in names:
                maps[kind] = min(maps.get(kind, (len(names), path)), (names.index(word), path))
    found = ({kind: maps[kind][1] for kind in _MAPS if kind in maps} for maps in materials.values())
    return [maps for maps in found if "color" in maps]


def _without_resolution(material: str) -> str:
    """ "Wood01_2K-JPG" and "wood01" are one material."""
    return re.sub(r"[\s_-]+\d+k(?:[\s_-]+(?:jpg|png))?$", "", material.lower())


def _sha256_of_decodable(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except Exception as error:  # Pillow raises many kinds, struct.error and SyntaxError among them
            raise InputError(f"{path} cannot be decoded: {' '.join(str(error).split())}") from None
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _raise(error: OSError) -> None:
    raise error
