"""A contact sheet of a library of textures: which picture is used as which map of what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.data.contact_sheet import Panel, draw_sheet
from experiments.scenes.schema import Picture
from experiments.synthetic.texture_names import MapKind
from experiments.synthetic.texture_pictures import read_map
from experiments.synthetic.textures import Library
from vggt_jax.pictures import MOST_BYTES
from vggt_jax.reading.regular import read_bytes

MOST = 240
"""Textures on a sheet; of larger libraries some are shown, evenly chosen."""
_SIDE = 56
_COLUMNS = 5
_TITLE = 32
"""Letters of a title."""


def draw_library(library: Library) -> Image.Image:
    """Each texture under its name: its colour, then its normals, roughness and metalness, where it has them.

    Raises:
        InputError: a picture that could be decoded when the library was read cannot be now.
        OSError: it cannot be read.
    """
    number = len(library.textures)
    chosen = np.unique(np.linspace(0, number - 1, min(number, MOST)).round().astype(int))
    folder = library.folder.absolute()
    panels = [_panel(library.textures[place], library.colors[place].relative_to(folder)) for place in chosen]
    return draw_sheet([panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)])


def _panel(texture: Picture, color: Path) -> Panel:
    maps = {
        MapKind.COLOR: texture.color,
        MapKind.NORMAL: texture.normal,
        MapKind.ROUGHNESS: texture.roughness,
        MapKind.METALLIC: texture.metallic,
    }
    thumbnails = [_thumbnail(Path(path)) for path in maps.values() if path is not None]
    initials = "".join(kind[0] for kind, path in maps.items() if path is not None)
    name = color.as_posix()
    return Panel(f"{name if len(name) <= _TITLE else '…' + name[-_TITLE:]} {initials}", [thumbnails])


def _thumbnail(path: Path) -> Image.Image:
    picture = read_map(path, read_bytes(path, MOST_BYTES), _SIDE, color=True, as_it_is=False)
    assert picture is not None
    return picture.convert("RGB").resize((_SIDE, _SIDE))
