"""Meshes of other programs with their colours, read with trimesh, as the renderer takes them.

What a file says about colour is rendered or named (:class:`experiments.scenes.looks.LeftOut`): pictures, factors, colours of
vertices and of faces, alpha of glTF.

The worker has no trimesh: a mesh reaches it as ``NAME.npz`` (``vertices`` (n, 3) float32 that fill the cube [-1, 1]³,
``faces`` (m, 3) int32, and ``uv`` (m, 3, 2) float32 of the triangles' corners, ``colors`` (n, 3) float32, linear RGB, or both)
and, with UV coordinates, a picture ``NAME.png``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import trimesh
from jaxtyping import Float, Float32, Int
from PIL import Image

from experiments.scenes import gltf_files, loose_files, schema
from experiments.scenes.looks import LeftOut, Look
from experiments.scenes.mesh_damage import check_triangles, reading_mesh
from experiments.scenes.mesh_references import References, lenient
from experiments.scenes.pictures import eight_bits
from experiments.storage import files
from subspace.errors import InputError

SUFFIXES = frozenset({".obj", ".ply"}) | gltf_files.SUFFIXES
LARGEST_PICTURE = 4096
"""Pixels of the longer side with which a picture is rendered at most."""
SMALLEST = 1e-6
"""Metres; the extent of something flat."""


@dataclass(frozen=True)
class Part:
    """Triangles with a picture, with colours of their vertices, or with both, multiplied.

    No two vertices are at the same place, and each is a corner of a triangle.
    """

    vertices: Float[np.ndarray, "n 3"]
    """In the file's units and axes."""
    faces: Int[np.ndarray, "m 3"]
    uv: Float32[np.ndarray, "m 3 2"] | None
    """Of the triangles' corners; (0, 0) is the picture's lower left corner."""
    picture: Image.Image | None
    """RGBA where transparent places are no surface."""
    colors: Float32[np.ndarray, "n 3"] | None
    """Linear RGB."""
    left_out: frozenset[LeftOut] = frozenset()
    """What the file says about the part's colour that is not rendered."""


def read(path: Path) -> list[Part]:
    """The parts of a file, in its order: one for each material. Points, lines and what cannot be seen are none.

    Raises:
        InputError: the file cannot be read, holds no triangles, or a part has no colour that can be used.
    """
    references = References(path)
    gltf = None
    if path.suffix.lower() in gltf_files.SUFFIXES:
        gltf = gltf_files.read(path, references)
        scene = gltf.scene
    else:
        with reading_mesh(path, references), lenient():
            scene = trimesh.load_scene(path, process=False, resolver=references)
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        found = scene.geometry[name]
        if not isinstance(found, trimesh.Trimesh) or not len(found.faces):
            continue
        check_triangles(path, found)
        vertices = trimesh.transformations.transform_points(found.vertices, transform)
        with reading_mesh(path, references), lenient():  # pictures are decoded as they are asked for
            look = gltf.look(path, found) if gltf is not None else loose_files.look(path, found, references)
            part = None if look is None else _part(path, vertices, found.faces, look)
        if part is not None:
            parts.append(part)
    if not parts:
        raise InputError(f"{path} holds no triangles")
    return parts


def files_of(path: Path) -> list[Path]:
    """The file, and those that it names and that are read with it, missing ones included: materials, pictures, buffers.

    Raises nothing for a file that cannot be read.
    """
    references = References(path)
    with suppress(Exception), lenient():  # trimesh's readers raise anything, whatever is wrong with the file
        trimesh.load_scene(path, process=False, resolver=references)
    return [path, *(named for named in dict.fromkeys(references.looked_for) if named != path)]


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
    transparent = picture.mode == "RGBA"
    (picture if transparent else eight_bits(picture).convert("RGB")).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
    return schema.Wrapped(
        str(path.absolute()), sha256(content.getvalue()).hexdigest(), alpha=True if transparent else msgspec.UNSET
    )


def write_looks(
    parts: Sequence[Part], folder: Path, names: Sequence[str]
) -> list[schema.Wrapped | schema.VertexColors]:
    """The texture of each part; a picture that several have is written once, and scaled if it is very large.

    Raises OSError if the folder cannot be written.
    """
    written: dict[int, schema.Wrapped] = {}
    looks: list[schema.Wrapped | schema.VertexColors] = []
    for part, name in zip(parts, names, strict=True):
        if part.picture is None:
            looks.append(schema.VertexColors())
            continue
        if id(part.picture) not in written:
            picture = part.picture
            if max(picture.size) > LARGEST_PICTURE:
                picture = picture.copy()
                picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE), Image.Resampling.LANCZOS, reducing_gap=3.0)
            written[id(part.picture)] = write_picture(picture, folder / f"{name}.png")
        look = written[id(part.picture)]
        looks.append(look if part.colors is None else msgspec.structs.replace(look, vertex_colors=True))
    return looks


def box(vertices: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Extent and middle of the vertices' bounding box."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return np.maximum(high - low, SMALLEST), (low + high) / 2


def _part(path: Path, vertices: np.ndarray, faces: np.ndarray, look: Look) -> Part | None:
    """What takes part in the surface; None if there is none."""
    used = np.flatnonzero(np.bincount(faces.ravel(), minlength=len(vertices)))
    if not np.isfinite(vertices[used]).all():
        raise InputError(f"{path} has vertices that are not finite")
    # Readers cut a surface along its seams in the picture; joined again, it is shaded as one.
    places, first, inverse = np.unique(vertices[used] + 0.0, axis=0, return_index=True, return_inverse=True)
    joined = np.zeros(len(vertices), np.int64)
    joined[used] = inverse.reshape(-1)
    corners = joined[faces]
    whole = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    if not whole.any():
        return None
    kept = np.flatnonzero(np.bincount(corners[whole].ravel(), minlength=len(places)))
    compact = np.zeros(len(places), np.int64)
    compact[kept] = np.arange(len(kept))
    return Part(
        places[kept],
        compact[corners[whole]],
        None if look.uv is None else (look.uv[faces] if look.uv.ndim == 2 else look.uv)[whole].astype(np.float32),
        look.picture,
        None if look.colors is None else look.colors[used[first[kept]]].astype(np.float32),
        look.left_out,
    )
