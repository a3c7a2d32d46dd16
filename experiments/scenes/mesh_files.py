"""Textured meshes of other programs, read with trimesh, as the renderer takes them.

The worker has no trimesh: a mesh reaches it as ``NAME.npz`` (``vertices`` (n, 3) float32 that fill the cube [-1, 1]³,
``faces`` (m, 3) int32, and ``uv`` (m, 3, 2) float32 of the triangles' corners or ``colors`` (n, 3) float32, linear RGB) and,
with UV coordinates, a picture ``NAME.png``.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Float32, Int
from PIL import Image
from trimesh.resolvers import FilePathResolver

from experiments.scenes import schema
from experiments.storage import files
from subspace.errors import InputError

SUFFIXES = frozenset({".obj", ".glb", ".gltf", ".ply"})
SMALLEST = 1e-6
"""Metres; the extent of something flat."""


@dataclass(frozen=True)
class Part:
    """Triangles with one picture, or with colours of their vertices. No two vertices are at the same place."""

    vertices: Float[np.ndarray, "n 3"]
    """In the file's units and axes."""
    faces: Int[np.ndarray, "m 3"]
    uv: Float32[np.ndarray, "m 3 2"] | None
    """Of the triangles' corners; (0, 0) is the picture's lower left corner."""
    picture: Image.Image | None
    colors: Float32[np.ndarray, "n 3"] | None
    """Linear RGB."""


def read(path: Path) -> list[Part]:
    """The parts of a file, in its order: one for each material.

    Raises:
        InputError: the file cannot be read, holds no triangles, or a part has neither a texture nor colours of its vertices.
    """
    with files.reading(path, "cannot be read"):
        scene = trimesh.load_scene(path, process=False)
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        found = scene.geometry[name]
        if isinstance(found, trimesh.Trimesh) and len(found.faces):
            vertices = trimesh.transformations.transform_points(found.vertices, transform)
            with files.reading(
                path, "cannot be used"
            ):  # pictures are decoded, and normals computed, as they are asked for
                parts.append(_part(path, vertices, found))
    if not parts:
        raise InputError(f"{path} holds no triangles")
    return parts


def files_of(path: Path) -> list[Path]:
    """The file, and those that it names and that are read with it, missing ones included: materials, pictures, buffers.

    Raises nothing for a file that cannot be read.
    """
    resolver = _Noting(path)
    with suppress(Exception):  # trimesh's readers raise anything, whatever is wrong with the file
        trimesh.load_scene(path, process=False, resolver=resolver)
    return [path, *(named for named in dict.fromkeys(resolver.noted) if named != path)]


class _Noting(FilePathResolver):
    """Reads the files that a mesh file names, and notes where they are looked for."""

    def __init__(self, path: Path):
        super().__init__(str(path))
        self.noted: list[Path] = []

    def get(self, name: str) -> Any:
        folder, name = Path(self.parent), name.strip()
        self.noted += [Path(os.path.normpath(folder / name)), folder / Path(name).name]
        return super().get(name)


def write(part: Part, folder: Path, name: str) -> schema.Mesh:
    """Write a part, its vertices scaled to fill the cube; the scene's object has :func:`box` for size and location.

    Raises OSError if the folder cannot be written.
    """
    size, middle = box(part.vertices)
    arrays: dict[str, Any] = {
        "vertices": ((part.vertices - middle) / (size / 2)).astype(np.float32),
        "faces": part.faces.astype(np.int32),
    }
    arrays |= {key: value for key, value in (("uv", part.uv), ("colors", part.colors)) if value is not None}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    files.write_bytes(folder / f"{name}.npz", content.getvalue())
    return schema.Mesh(str((folder / f"{name}.npz").absolute()), sha256(content.getvalue()).hexdigest())


def write_picture(picture: Image.Image, path: Path) -> schema.Wrapped:
    """Write a PNG file to be wrapped around a surface.

    Raises OSError if it cannot be written.
    """
    content = io.BytesIO()
    picture.convert("RGB").save(content, "PNG")
    files.write_bytes(path, content.getvalue())
    return schema.Wrapped(str(path.absolute()), sha256(content.getvalue()).hexdigest())


def box(vertices: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Extent and middle of the vertices' bounding box."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return np.maximum(high - low, SMALLEST), (low + high) / 2


def _part(path: Path, vertices: np.ndarray, mesh: trimesh.Trimesh) -> Part:
    if not np.isfinite(vertices).all():
        raise InputError(f"{path} has vertices that are not finite")
    visual: Any = mesh.visual
    uv = picture = colors = None
    if visual.kind == "texture":
        uv, picture = visual.uv, _picture(visual.material)
    elif visual.kind == "vertex":
        colors = _linear(visual.vertex_colors[:, :3] / 255)
    if colors is None and (uv is None or picture is None):
        lacking = (
            "no texture that can be read" if uv is not None else "neither UV coordinates nor colours of its vertices"
        )
        raise InputError(f"{path} has {lacking}")
    # Readers cut a surface along its seams in the picture; joined again, it is shaded as one.
    places, first, inverse = np.unique(vertices + 0.0, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Part(
        places,
        faces[whole],
        None if colors is not None else np.asarray(uv)[mesh.faces[whole]].astype(np.float32),
        picture,
        None if colors is None else colors[first].astype(np.float32),
    )


def _picture(material: Any) -> Image.Image | None:
    """Of a simple material, or the base colour of a PBR one. trimesh puts 2 × 2 grey pixels in place of a missing one."""
    found = [getattr(material, name, None) for name in ("image", "baseColorTexture")]
    picture = next((picture for picture in found if picture is not None and min(picture.size) > 2), None)
    if picture is not None:
        picture.load()
    return picture


def _linear(srgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in 0…1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
