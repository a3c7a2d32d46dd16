"""What the names of pictures say: which of them are the maps of one material, and which map each is.

Libraries agree on no form (``Wood01_2K-JPG_NormalGL.jpg``, ``rock_wall_nor_gl_1k.jpg``, ``rusty-metal_Normal-ogl.png``,
``T_Rock_ORM.tga``, ``tiles/basecolor.png``), but nearly all end in a word for the map, before or after the size. Names are
split into words at separators and capitals; the longest known word at the end counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path


class MapKind(StrEnum):
    """What a picture of a material says about it."""

    COLOR = "colour"
    NORMAL = "normal"
    NORMAL_DIRECTX = "normal (DirectX)"
    ROUGHNESS = "roughness"
    GLOSS = "gloss"
    METALLIC = "metallic"
    OCCLUSION_ROUGHNESS_METALLIC = "occlusion, roughness and metallic"
    ROUGHNESS_METALLIC_OCCLUSION = "roughness, metallic and occlusion"
    METALLIC_ROUGHNESS_OCCLUSION = "metallic, roughness and occlusion"
    OCCLUSION = "occlusion"
    HEIGHT = "height"
    SPECULAR = "specular"
    CAVITY = "cavity"
    OPACITY = "opacity"
    EMISSION = "emission"
    PREVIEW = "preview"
    OTHER = "other"
    """A map that is known by its name, and by nothing here."""


_WORDS: dict[MapKind, str] = {
    MapKind.COLOR: "basecolor basecolour albedo diffuse color colour diff dif col coll maintex albedotransparency "
    "basecoloropacity alb colors diffuseoriginal",
    MapKind.NORMAL: "normalgl normalopengl normalogl norgl nrmgl normal nor normals nrm norm nml bumpnormal normalbump nmap "
    "normalmapopengl",
    MapKind.NORMAL_DIRECTX: "normaldx normaldirectx nordx nrmdx normalmapdirectx",
    MapKind.ROUGHNESS: "roughness rough rgh",
    MapKind.GLOSS: "gloss glossiness smoothness",
    MapKind.METALLIC: "metalness metallic metal metallicity mtl",
    MapKind.OCCLUSION_ROUGHNESS_METALLIC: "orm arm rm aorm occlusionroughmetal "
    "occlusionroughnessmetal occlusionroughnessmetallic aoroughnessmetallic "
    "metallicroughness "
    "ambientocclusionroughnessmetallic roughnessmetallic aoroughmetal metalrough",
    MapKind.ROUGHNESS_METALLIC_OCCLUSION: "rma roughnessmetallicao",
    MapKind.METALLIC_ROUGHNESS_OCCLUSION: "mra mrao metallicroughnessao",
    MapKind.OCCLUSION: "ao ambientocclusion mixedao occlusion occ ambient",
    MapKind.HEIGHT: "displacement disp height heightmap bump bumpmap displacementmap dis parallax",
    MapKind.SPECULAR: "specular spec spc specularlevel specularior specior reflection refl reflectivity speculartint f0",
    MapKind.CAVITY: "cavity curvature crevice",
    MapKind.OPACITY: "opacity alpha transparency mask translucency translucent trans transmission sss subsurface thickness "
    "blendmask scattering",
    MapKind.EMISSION: "emission emissive emit glow selfillumination",
    MapKind.PREVIEW: "preview previews thumb thumbs thumbnail thumbnails render renders sphere icon popup cover screenshot",
    MapKind.OTHER: "maskmap metallicsmoothness specularsmoothness ordp orme ort mro rom ord ormh hrao hr mohr hra fuzz "
    "anisotropy anisotropic sheen clearcoat coat edge edgewear flow id idmap detail position worldnormal normalos uv uvs "
    "lightmap brush billboard",
}
_UNREAL: dict[MapKind, str] = {
    MapKind.COLOR: "d bc b c bo bca bcr",
    MapKind.NORMAL_DIRECTX: "n nm",
    MapKind.ROUGHNESS: "r",
    MapKind.METALLIC: "m",
    MapKind.OCCLUSION: "o",
    MapKind.HEIGHT: "h",
    MapKind.SPECULAR: "s",
    MapKind.EMISSION: "e",
    MapKind.OPACITY: "a",
    MapKind.OTHER: "mr mt mask",
}
"""Behind ``T_`` only (Unreal's own names, whose normal maps are DirectX's), or beside a colour and a normal map so named."""
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_LETTERS = {word: kind for kind, words in _UNREAL.items() for word in words.split()}
_RANKS = {word: rank for words in _WORDS.values() for rank, word in enumerate(words.split())}
"""Of two maps of one kind the one with the word that comes first is taken."""
_EVERYDAY = frozenset(
    "metal arm rm color colour render sphere cover screenshot edge mask detail ambient icon trans flow brush".split()
)
"""Words that pictures of other things end in as well: they stand for a map only beside other maps, or with a size."""
_SIZE = re.compile(r"\d{1,2}k|(?:256|512|1024|2048|4096|8192|16384)(?:x\d{3,5})?")
_CAPITAL_K = re.compile(r"(?<![A-Za-z0-9])(\d{1,2})K(?![a-z0-9])")
_TILE = re.compile(r"(?<=[._-])(1[0-9]{3}|u\d+_v\d+)(?=[._-]|$)", re.IGNORECASE)
"""Of UDIM (1001 to 1999), or of Mudbox."""
_AROUND = re.compile(r"jpe?g|png|tiff?|map|tex|texture|lod\d*|seamless|tileable|tiled|srgb|raw|linear")
"""Words that may stand behind that of the map, beside the size."""
_VARIANT = re.compile(r"(?:var|v)?\d{1,2}")
"""Which of several colours of a material it is, or which of several materials, behind the word of the map."""
_BITS = frozenset({"8", "16", "32"})
_WORKFLOWS = frozenset({"metalness", "specular"})
_OF_WORKFLOWS = frozenset("col nrm nrm16 gloss disp disp16 ao refl basecolor roughness normal metalness".split())
"""Words of maps behind which Poliigon says what workflow the material is of."""
_SPLIT = re.compile(r"[\s_.\-]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


READ = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".tga", ".exr"})
"""Suffixes of pictures."""
UNREAD = frozenset({".hdr", ".psd", ".dds", ".heic", ".avif", ".svg", ".ktx", ".ktx2", ".gif", ".tx", ".sbsar", ".jp2"})
"""Suffixes of pictures that are named and not used."""


def is_unread(path: Path) -> bool:
    """Whether a picture is of a format that is not used."""
    return path.suffix.lower() in UNREAD


@dataclass(frozen=True)
class _Name:
    key: tuple[str, ...]
    """Words of the material."""
    tile: str
    """Tile of UDIM; empty where there are none."""
    kind: MapKind | None
    word: str
    """The word that says which map it is."""
    sized: bool
    """It says how large it is."""


@dataclass
class MaterialFiles:
    """The pictures of one material."""

    maps: dict[MapKind, Path] = field(default_factory=dict)
    """One for each kind."""
    spare: dict[Path, MapKind] = field(default_factory=dict)
    """Further ones of the same kinds: other sizes, other colours."""


@dataclass
class Grouped:
    """All pictures of a folder."""

    materials: list[MaterialFiles]
    """Those with a colour, in the order of their first files; a picture without a map's name is one with nothing else."""
    colorless: dict[Path, MapKind]
    """Maps of materials without a colour."""
    beside: list[Path]
    """Pictures beside a material's maps that say nothing or something unknown of themselves: previews, renderings."""


_Key = tuple[Path, tuple[str, ...], str]
"""Folder, words and tile of a material."""


def group(pictures: Sequence[Path]) -> Grouped:
    """Put the maps of each material together.

    Files belong together if their folder and the rest of their names agree. Where folders are named after maps
    (``color/wood.png``, ``normal/wood.png``), the folder says which map it is. Several colours of one material
    (``cloth_col_01``, ``cloth_col_02``, ``cloth_nor_gl``) share its other maps.

    Args:
        pictures: in the order of their paths.
    """
    by_folder, lettered = _map_folders(pictures), _lettered(pictures)
    members: dict[_Key, list[tuple[Path, _Name]]] = {}
    for path in pictures:
        name, folder = _parse(path.stem, path in lettered), path.parent
        if (kind := by_folder.get(folder)) is not None and name.kind in (None, kind):
            name, folder = replace(name, kind=kind, word="", sized=True), folder.parent
        members.setdefault((folder, name.key, name.tile), []).append((path, name))
    colored: dict[_Key, MaterialFiles] = {}
    rest: dict[_Key, MaterialFiles] = {}
    plain: dict[Path, _Key] = {}
    beside: list[Path] = []
    for key, found in members.items():
        material, unnamed = _material(found)
        if MapKind.COLOR not in material.maps and len(unnamed) == 1 and material.maps:
            material.maps[MapKind.COLOR] = unnamed.pop()  # wood.png beside wood_normal.png
        if MapKind.COLOR in material.maps:
            colored[key] = material
            beside += unnamed
        else:
            rest[key] = material
            plain |= dict.fromkeys(unnamed, key)
    colorless: dict[Path, MapKind] = {}
    for key, material in rest.items():
        variants = [other for place, other in colored.items() if _is_variant(place, key)]
        for variant in variants:
            variant.maps = {**material.maps, **variant.maps}
        if not variants:
            colorless |= {path: kind for kind, path in material.maps.items()} | material.spare
    sets = {key: material for key, material in colored.items() if len(material.maps) > 1}
    materials = list(colored.values())
    alone = Counter(folder for folder, _, _ in plain.values())
    for path, key in plain.items():
        if _is_beside(key, sets, alone[key[0]]):
            beside.append(path)
        else:
            materials.append(MaterialFiles({MapKind.COLOR: path}))
    materials.sort(key=lambda material: material.maps[MapKind.COLOR])
    return Grouped(materials, colorless, sorted(beside))


def _is_variant(colored: _Key, rest: _Key) -> bool:
    (folder, words, tile), (other, base, other_tile) = colored, rest
    same = (folder, tile) == (other, other_tile)
    return same and words[:-1] == base and len(words) > len(base) and _VARIANT.fullmatch(words[-1]) is not None


def _material(members: Sequence[tuple[Path, _Name]]) -> tuple[MaterialFiles, list[Path]]:
    """The maps, and the pictures that name none."""
    material, unnamed = MaterialFiles(), []
    sure = any(name.kind is not None and (name.sized or name.word not in _EVERYDAY) for _, name in members)
    ranked = sorted(members, key=lambda member: (is_unread(member[0]), _RANKS.get(member[1].word, 0), member[0]))
    for path, name in ranked:
        if name.kind is None or not sure:
            unnamed.append(path)
        elif name.kind in material.maps:
            material.spare[path] = name.kind
        else:
            material.maps[name.kind] = path
    return material, unnamed


def _is_beside(key: _Key, sets: Mapping[_Key, MaterialFiles], alone: int) -> bool:
    """Whether a picture without a map's name lies there on account of a material.

    It does if it is named after one with one word more, or is one of a few in the folder of a single material.
    """
    folder, words, _ = key
    there = {other[1]: material for other, material in sets.items() if other[0] == folder}
    if words[:-1] in there or words in there:
        return True
    return len(there) == 1 and alone <= len(next(iter(there.values())).maps)


def _map_folders(pictures: Iterable[Path]) -> dict[Path, MapKind]:
    """Folders that are named after maps, beside others that are, one of them of colours."""
    folders = {path.parent for path in pictures}
    named = {folder: kind for folder in folders if (kind := _KINDS.get("".join(_words(folder.name))))}
    together: dict[Path, set[MapKind]] = {}
    for folder, kind in named.items():
        together.setdefault(folder.parent, set()).add(kind)
    return {
        folder: kind
        for folder, kind in named.items()
        if MapKind.COLOR in together[folder.parent] and len(together[folder.parent]) > 1
    }


def _lettered(pictures: Iterable[Path]) -> set[Path]:
    """Pictures whose maps are named by letters: ``brick_d``, ``brick_n``, ``brick_s``; a colour and normals are among them."""
    sets: dict[tuple[Path, tuple[str, ...]], dict[str, Path]] = {}
    for path in pictures:
        *stem, last = _words(path.stem) or [""]
        if stem and last in _LETTERS:
            sets.setdefault((path.parent, tuple(stem)), {})[last] = path
    kinds = {key: {_LETTERS[letter] for letter in found} for key, found in sets.items()}
    both = {MapKind.COLOR, MapKind.NORMAL_DIRECTX}
    return {path for key, found in sets.items() if both <= kinds[key] for path in found.values()}


def _words(name: str) -> list[str]:
    return [
        word.lower()
        for word in _SPLIT.split(_CAPITAL_K.sub(r"\1k", name).replace("metalRoughness", "metalrough"))
        if word
    ]


def _parse(stem: str, lettered: bool = False) -> _Name:
    tile = ""
    if match := _TILE.search(stem):
        tile, stem = match[0].lower(), stem[: match.start() - 1] + stem[match.end() :]
    everything = _words(stem)
    unreal = len(everything) > 2 and stem.startswith("T_")
    kinds = {**_KINDS, **(_LETTERS if unreal or lettered else {})}
    words = [word for word in everything if not _SIZE.fullmatch(word)]
    sized = len(words) < len(everything)
    while len(words) > 1 and words[-1] in _WORKFLOWS and words[-2] in _OF_WORKFLOWS:
        words.pop()
    behind: list[str] = []
    for end in range(len(words), 0, -1):
        for count in (4, 3, 2, 1):
            word = "".join(words[max(0, end - count) : end])
            bare = word.rstrip("0123456789").removesuffix("map")
            if end >= count and (kind := kinds.get(word) or kinds.get(bare)) is not None:
                if lettered and not unreal and word in _LETTERS and kind == MapKind.NORMAL_DIRECTX:
                    kind = MapKind.NORMAL
                elif unreal and kind == MapKind.NORMAL and not word.endswith("gl"):
                    kind = MapKind.NORMAL_DIRECTX
                number = word[len(word.rstrip("0123456789")) :]
                variant = [number] if number and word not in kinds and number not in _BITS else behind
                return _Name(_key([*words[: end - count], *variant]), tile, kind, bare, sized)
        if _VARIANT.fullmatch(words[end - 1]) and not behind:
            behind = [words[end - 1]]
        elif not _AROUND.fullmatch(words[end - 1]):
            break
    return _Name(_key(words), tile, None, "", sized)


def _key(words: Sequence[str]) -> tuple[str, ...]:
    """Without the format that ambientCG and others put behind the size."""
    kept = list(words)
    while kept and kept[-1] in ("jpg", "png", "map", "tex"):
        kept.pop()
    return tuple(kept)
