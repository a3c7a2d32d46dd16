"""Mesh files that are no meshes or damaged, in words: readers raise whatever Python makes of a number that is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import trimesh

from experiments.scenes.mesh_references import References
from experiments.storage.files import reading
from subspace.errors import InputError
from vggt_jax.pictures import what_it_is
from vggt_jax.reading.regular import check_regular

_BEGINNINGS = {".glb": b"glTF", ".ply": b"ply"}


@contextmanager
def reading_mesh(path: Path, references: References) -> Iterator[None]:
    """Turns what a reader raises about the content of a file into an InputError that names it and says what is wrong.

    Errors of the system that name their file pass, and so do InputErrors.

    Args:
        path: of the file.
        references: finds its pictures, one of which may be what cannot be read.

    Raises InputError for a file that is something else, before it is read.
    """
    check_regular(path)
    if what := what_it_is(path):
        raise InputError(f"{path} is no mesh: {what}")
    if path.suffix.lower() in _BEGINNINGS:
        with path.open("rb") as file:
            if not file.read(4).startswith(_BEGINNINGS[path.suffix.lower()]):
                raise InputError(f"{path} is no {path.suffix[1:].upper()} file")
    with reading(path, words=lambda error: references.problem() or _words(error)):
        yield


def check_triangles(path: Path, mesh: trimesh.Trimesh) -> None:
    """Raises InputError unless vertices have three numbers and triangles have vertices that are there."""
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InputError(f"{path} is damaged: it has vertices that are not three numbers")
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = faces.min() if faces.min() < 0 else faces.max()
        raise InputError(
            f"{path} is damaged: a triangle has vertex {wrong} (from 0), and there are {len(vertices)} vertices"
        )


def _words(error: Exception) -> str:
    match error:
        case IndexError() | KeyError():
            return "it is cut off, or refers to something that it does not have"
        case FileNotFoundError():
            return f"its file {error} is not there"
        case json.JSONDecodeError() | UnicodeDecodeError():
            return "what describes its parts (JSON) is cut off or something else"
    return "it is cut off, or something else stands where a number or a name should"
