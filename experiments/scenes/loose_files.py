"""OBJ and PLY: what their materials, vertices and faces say about colour.

trimesh forgets the colours of vertices that have coordinates in a picture too, so they are read again here. Kd of a material
is linear, as Blender writes it; colours of vertices and of faces are sRGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from experiments.scenes.looks import LeftOut, Look, dressed, palette
from experiments.scenes.mesh_references import References
from experiments.scenes.pictures import has_alpha, to_linear, with_alpha
from subspace.errors import InputError

_LEFT_OUT = {
    LeftOut.NORMAL_MAP: ("bump", "map_bump", "norm", "map_kn", "disp"),
    LeftOut.REFLECTION: ("map_ks", "map_ns", "map_pr", "map_pm", "pm", "refl", "map_refl"),
    LeftOut.EMISSION: ("map_ke",),
    LeftOut.OPACITY: ("map_d",),
}
"""Words of MTL files."""


def look(path: Path, mesh: trimesh.Trimesh, references: References) -> Look | None:
    """Of one of a scene's meshes: a picture, else colours of vertices, else those of faces, else the material's own.

    Raises InputError if it has none of these.
    """
    visual: Any = mesh.visual
    material = visual.material if visual.kind == "texture" else None
    picture = None if material is None else getattr(material, "image", None)
    if picture is not None and picture.format is None:  # trimesh's own, in place of none
        picture = None
    uv = visual.uv if visual.kind == "texture" else None
    colors = _vertex_colors(path, mesh)
    said = {} if material is None else {key: value for key, value in material.kwargs.items() if value is not None}
    left_out = {kind for kind, words in _LEFT_OUT.items() if any(word in said for word in words)}
    if _number(said.get("d"), 1.0) < 1 or _number(said.get("tr"), 0.0) > 0:
        left_out.add(LeftOut.OPACITY)
    if references.placed:
        left_out.add(LeftOut.PLACEMENT)
    plain = said.get("kd")
    if picture is not None and uv is not None:
        references.check_picture(picture)
        picture.load()
        if colors is not None and (colors < 1).any():
            left_out.add(LeftOut.VERTEX_COLORS)
        if plain is not None and min(plain) < 1:
            left_out.add(LeftOut.FACTOR)
        if has_alpha(picture) and with_alpha(picture).getchannel("A").getextrema() != (255, 255):
            left_out.add(LeftOut.OPACITY)
        return dressed(len(mesh.vertices), uv, picture, None, left_out=frozenset(left_out))
    if problem := references.problem():
        raise InputError(f"{path}: {problem}")
    if colors is not None:
        return dressed(len(mesh.vertices), None, None, colors, left_out=frozenset(left_out))
    if visual.kind == "face":
        texture, middles = palette(visual.face_colors[:, :3])
        return Look(np.repeat(middles[:, None], 3, axis=1), texture, left_out=frozenset(left_out))
    if plain is not None and len(plain) == 3:
        return dressed(len(mesh.vertices), None, None, None, (*plain, 1.0), left_out=frozenset(left_out))
    if missing := references.missing():
        raise InputError(f"{path}: its material file {missing[0]} is not there")
    lacking = "coordinates in a picture, but no picture" if uv is not None else "neither a picture nor colours"
    raise InputError(f"{path} has {lacking}")


def _number(said: Any, otherwise: float) -> float:
    try:
        return float(said[0] if isinstance(said, list) else said)
    except (TypeError, ValueError, IndexError):
        return otherwise


def _vertex_colors(path: Path, mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Linear RGB of the mesh's vertices, wherever in the file they are."""
    raw = _of_ply(mesh) if path.suffix.lower() == ".ply" else _of_obj(path)
    if raw is None:
        return None
    places, colors = raw
    if colors.dtype.kind in "iu":
        colors = colors / np.iinfo(colors.dtype).max
    elif colors.max(initial=0) > 1:
        colors = colors / 255
    linear = to_linear(np.clip(colors, 0, 1))
    if np.array_equal(places, mesh.vertices, equal_nan=True):
        return linear
    both = np.concatenate([places, mesh.vertices])
    _, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    found = first[inverse.reshape(-1)[len(places) :]]
    return linear[found] if (found < len(places)).all() else None


def _of_ply(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray] | None:
    data = mesh.metadata["_ply_raw"]["vertex"]["data"]
    names = data.dtype.names if isinstance(data, np.ndarray) else tuple(data)
    for prefix in ("", "diffuse_"):
        channels = [f"{prefix}{name}" for name in ("red", "green", "blue")]
        if all(name in names for name in channels):
            columns = [np.asarray(data[name]).reshape(-1) for name in channels]
            return np.column_stack([data[axis] for axis in "xyz"]), np.stack(columns, axis=1)
    return None


def _of_obj(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """What stands behind the coordinates: x y z r g b."""
    with path.open("rb") as file:
        lines: list[list[bytes]] = []
        for line in file:
            if line.startswith((b"v ", b"v\t")):
                lines.append(line.split(maxsplit=7)[1:7])
                if len(lines[-1]) < 6:
                    return None
    if not lines:
        return None
    values = np.array(lines, np.float64)
    return values[:, :3], values[:, 3:]
