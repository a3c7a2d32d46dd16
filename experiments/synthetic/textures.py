"""The user's own textures: any folder of pictures, or of the PBR maps of materials as libraries ship them.

Pictures are taken as they are where Blender can. A map that is one channel of a picture, the opposite of what is needed (gloss,
DirectX's normals), larger than pictures can show, or in a mode that Blender reads otherwise is written anew, once.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops

from experiments.process.cores import available_cores
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes import schema
from experiments.storage import files
from experiments.storage.results import name_in_results
from experiments.storage.walking import files_below
from experiments.synthetic.texture_names import READ, UNREAD, Grouped, MapKind, MaterialFiles, group, is_unread
from experiments.synthetic.texture_pictures import is_normal_map, read_map
from subspace.errors import InputError
from vggt_jax.missing import no_folder
from vggt_jax.pictures import MOST_BYTES
from vggt_jax.reading.regular import read_bytes

SMALLEST_LIMIT = 1024
"""Pixels of a side; no smaller map is ever scaled."""
_UNIT_MAPPING = schema.Mapping(repeats=1.0)
_Channel = Literal["color", "normal", "roughness", "metallic"]
_SOURCES: dict[_Channel, tuple[tuple[MapKind, int | None, bool], ...]] = {
    "color": ((MapKind.COLOR, None, False),),
    "normal": ((MapKind.NORMAL, None, False), (MapKind.NORMAL_DIRECTX, None, True)),
    "roughness": (
        (MapKind.ROUGHNESS, None, False),
        (MapKind.OCCLUSION_ROUGHNESS_METALLIC, 1, False),
        (MapKind.ROUGHNESS_METALLIC_OCCLUSION, 0, False),
        (MapKind.METALLIC_ROUGHNESS_OCCLUSION, 1, False),
        (MapKind.GLOSS, None, True),
    ),
    "metallic": (
        (MapKind.METALLIC, None, False),
        (MapKind.OCCLUSION_ROUGHNESS_METALLIC, 2, False),
        (MapKind.ROUGHNESS_METALLIC_OCCLUSION, 1, False),
        (MapKind.METALLIC_ROUGHNESS_OCCLUSION, 0, False),
    ),
}
"""For each map that is rendered what it is taken from, the best first: the kind, its channel, and whether it is inverted."""


class Unused(StrEnum):
    """Why a picture that no map's name tells apart is left out."""

    BESIDE = "beside a material's maps"
    FORMAT = "of a format that is not read"
    NORMALS = "looks like a normal map"


@dataclass(frozen=True)
class Library:
    """The textures of a folder."""

    folder: Path
    """Folder that the user named."""
    textures: tuple[schema.Picture, ...]
    """In the order of their colours' paths. The mapping repeats once a metre; scenes replace it."""
    colors: tuple[Path, ...]
    """The user's file of each texture's colour."""
    left_out: Mapping[Path, MapKind | Unused]
    """Pictures that are not used, and what they are."""
    colorless: tuple[Path, ...]
    """Those of them that belong to materials without a colour."""


def read_library(folder: Path, copies: Path, resolution: int, reporter: Reporter = SILENT) -> Library:
    """Find, read and hash all textures below a folder.

    Files belong to one material if their folder and their names, but for the word for the map and the size, agree (see
    :mod:`experiments.synthetic.texture_names`). A material needs a colour; its normals, roughness and metalness are used too.
    All other pictures are textures of their own, unless they lie beside a material's maps or show normals.

    Args:
        folder: of the textures, at any depth.
        copies: folder for maps that are written anew; made if there are any.
        resolution: of the views that will show them, in pixels, which limits the size of the maps.
        reporter: is told of progress, of what was found and of what was left out.

    Raises:
        InputError: there are no textures, or one cannot be decoded.
        OSError: a folder cannot be read or written.
    """
    grouped = group(texture_files(folder))
    usable = [material for material in grouped.materials if not is_unread(material.maps[MapKind.COLOR])]
    reader = _Reader(copies, size_limit(resolution))
    with (
        ThreadPoolExecutor(len(available_cores())) as threads,
        reporter.progress(len(usable), " textures", "checking textures") as bar,
    ):
        found: list[schema.Picture | None] = []
        for texture in threads.map(reader.texture, usable):
            found.append(texture)
            bar.update()
    colors = [material.maps[MapKind.COLOR] for material in usable]
    library = _summary(folder, grouped, dict(zip(colors, found, strict=True)))
    if not library.textures:
        left = f" that can be used: {_listed(library)}" if library.left_out else ""
        raise InputError(f"{folder} holds no pictures{left}")
    reporter.info(describe(library))
    return library


def texture_files(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths, those of formats that are not read included.

    Pictures that are results of this program, figures say, are left out.

    Raises:
        InputError: it is no folder.
        OSError: it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(no_folder(folder), argument="textures")
    return [path for path in files_below(folder.absolute(), READ | UNREAD) if name_in_results(path) is None]


def size_limit(resolution: int) -> int:
    """Pixels of a map's longer side that views of a resolution can show: twice theirs, or :data:`SMALLEST_LIMIT`."""
    limit = SMALLEST_LIMIT
    while limit < 2 * resolution:
        limit *= 2
    return limit


def describe(library: Library) -> str:
    """What was found and what was left out, for people."""
    sets = [texture for texture in library.textures if texture.normal or texture.roughness or texture.metallic]
    numbers = {
        name: sum(getattr(texture, name) is not None for texture in sets) for name in _SOURCES if name != "color"
    }
    counts = ", ".join(f"{number} with {name}" for name, number in numbers.items() if number)
    found = [f"{len(sets)} material(s) ({counts})"] if sets else []
    if pictures := len(library.textures) - len(sets):
        found.append(f"{pictures} picture(s)")
    left = f"; left out: {_listed(library)}" if library.left_out else ""
    return f"{library.folder}: {' and '.join(found)}{left}"


def _listed(library: Library) -> str:
    counts = Counter(str(kind) for path, kind in library.left_out.items() if path not in library.colorless)
    listed = [f"{number} {kind}" for kind, number in counts.most_common()]
    named = [path for path, kind in library.left_out.items() if isinstance(kind, Unused)]
    if named:
        listed.append(f"such as {_short(named, library.folder)}")
    if library.colorless:
        without = f"{len(library.colorless)} map(s) of materials without a colour"
        listed.append(f"{without} ({_short(library.colorless, library.folder)})")
    return ", ".join(listed)


def _short(paths: Sequence[Path], folder: Path, most: int = 3) -> str:
    names = [path.relative_to(folder.absolute()).as_posix() for path in paths[:most]]
    return ", ".join(names) + (" …" if len(paths) > most else "")


def _summary(folder: Path, grouped: Grouped, made: Mapping[Path, schema.Picture | None]) -> Library:
    left_out: dict[Path, MapKind | Unused] = dict.fromkeys(grouped.beside, Unused.BESIDE)
    colorless = dict(grouped.colorless)
    for material in grouped.materials:
        color = material.maps[MapKind.COLOR]
        if color not in made:
            left_out[color] = Unused.FORMAT
            colorless |= {path: kind for kind, path in material.maps.items() if path != color}
            continue
        if made[color] is None:
            left_out[color] = Unused.NORMALS
        used = {path for path, *_ in _maps(material).values()}
        left_out |= {path: kind for kind, path in material.maps.items() if path not in used} | material.spare
    left_out |= {path: Unused.FORMAT if is_unread(path) else kind for path, kind in colorless.items()}
    kept = {path: texture for path, texture in made.items() if texture is not None}
    return Library(folder, tuple(kept.values()), tuple(kept), dict(sorted(left_out.items())), tuple(sorted(colorless)))


def _maps(material: MaterialFiles) -> dict[_Channel, tuple[Path, int | None, bool]]:
    """What each map that is rendered is taken from: file, channel, and whether it is inverted."""
    found: dict[_Channel, tuple[Path, int | None, bool]] = {}
    for name, sources in _SOURCES.items():
        for kind, channel, inverted in sources:
            path = material.maps.get(kind)
            if path is not None and not is_unread(path):
                found.setdefault(name, (path, channel, inverted))
    return found


@dataclass(frozen=True)
class _Reader:
    """Makes textures of the files of materials."""

    copies: Path
    limit: int

    def texture(self, material: MaterialFiles) -> schema.Picture | None:
        """None if the only picture, whose name says nothing, is a normal map."""
        maps = _maps(material)
        if len(material.maps) == 1 and not material.spare and is_normal_map(maps["color"][0]):
            return None
        digest = hashlib.sha256()
        content: dict[Path, bytes] = {}
        for path, *_ in maps.values():
            if path not in content:
                content[path] = read_bytes(path, MOST_BYTES)
                digest.update(content[path])
        names = {
            name: str(self._usable(name, path, content[path], channel, inverted))
            for name, (path, channel, inverted) in maps.items()
        }
        return schema.Picture(mapping=_UNIT_MAPPING, sha256=digest.hexdigest(), **names)

    def _usable(self, name: _Channel, path: Path, content: bytes, channel: int | None, inverted: bool) -> Path:
        """The file itself, or what is made of it."""
        recipe = f"{name}{'' if channel is None else channel}{'_inverted' * inverted}_{self.limit}"
        copy = self.copies.absolute() / f"{hashlib.sha256(content).hexdigest()[:24]}_{recipe}.png"
        if copy.exists():
            return copy
        picture = read_map(path, content, self.limit, color=name == "color", as_it_is=channel is None and not inverted)
        if picture is None:
            return path
        if channel is not None:
            picture = picture.getchannel(min(channel, len(picture.getbands()) - 1))
        if inverted and name == "normal":
            red, green, blue = picture.convert("RGB").split()
            picture = Image.merge("RGB", (red, ImageChops.invert(green), blue))
        elif inverted:
            picture = ImageChops.invert(picture.convert("L"))
        encoded = io.BytesIO()
        picture.save(encoded, "PNG", compress_level=1)
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(copy, encoded.getvalue())
        return copy
