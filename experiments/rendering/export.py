"""A scene's geometry for other tools: ray casting, collision tests, GLB files.

``python -m experiments.rendering.export SPEC.json SCENE.glb`` writes any format that trimesh knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import trimesh

from experiments.rendering.blender import meshes
from experiments.scenes import schema
from subspace.errors import InputError
from vggt_jax.reading.regular import read_bytes
from weights_convert.command_line import run


def object_mesh(item: schema.Object) -> trimesh.Trimesh:
    """An object's triangles in the world, metres: the ones that are rendered.

    Raises:
        InputError: the object's measures make no surface.
    """
    mesh = meshes.build(msgspec.to_builtins(item.shape), item.size)
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    pose = trimesh.transformations.quaternion_matrix(np.array(item.rotation))
    pose[:3, 3] = item.location
    return made.apply_transform(pose)


def to_trimesh(scene: schema.Scene) -> trimesh.Scene:
    """All objects under their ids as names (``"1 floor"``), in the world's frame."""
    made = trimesh.Scene()
    for i, item in enumerate(scene.objects):
        name = f"{i + 1} {item.name}"
        made.add_geometry(object_mesh(item), node_name=name, geom_name=name)
    return made


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 2:
        raise InputError(f"give a scene's JSON file and the file to write; got {' '.join(arguments) or 'nothing'}")
    source, target = map(Path, arguments)
    scene = to_trimesh(schema.from_json(read_bytes(source, schema.MOST_BYTES)))
    scene.export(target)
    triangles = sum(len(mesh.faces) for mesh in scene.geometry.values())
    print(f"{target}: {len(scene.geometry)} objects, {triangles} triangles")


if __name__ == "__main__":
    run(main, positional=True)
