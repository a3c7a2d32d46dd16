"""Point clouds as PLY and GLB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Float32, UInt8
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from experiments.reconstruction.scene import FRUSTUM_EDGES, PointCloud
from experiments.scenes.pictures import to_linear

# From OpenCV's axes (y down, z forward) to glTF's (y up, z towards the viewer): half a turn about x.
TO_GLTF = np.array([1.0, -1.0, -1.0])

_FLOAT = 5126
"""glTF's number of the type float32."""
_CAMERA_COLOUR = (0.90, 0.25, 0.15, 1.0)
_FIRST_CAMERA_COLOUR = (0.10, 0.45, 0.90, 1.0)
_EDGE_THICKNESS = 0.025
"""Radius of a frustum's edge as a share of its length."""


def write_ply(path: Path, cloud: PointCloud) -> None:
    """Binary little-endian PLY: x, y, z (float32, the world's frame) and red, green, blue (uint8, the photo's sRGB)."""
    vertices = np.empty(len(cloud), dtype=[("position", "<f4", 3), ("colour", "u1", 3)])
    vertices["position"] = cloud.positions
    vertices["colour"] = cloud.colours
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}", *properties, "end_header", ""]
    with path.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(vertices.tobytes())


def write_glb(path: Path, cloud: PointCloud, frusta: Float[np.ndarray, "views 5 3"]) -> None:
    """glTF 2.0 in one file: the points, and every camera as a wire frame of thin rods, the first one blue.

    Positions are turned to glTF's axes (x, −y, −z). Vertex colours are linear, as the format demands (viewers turn them back
    to sRGB), and float32: eight bits would leave 183 of the 256 levels of sRGB, and trimesh takes 16 bits for 8.
    """
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.PointCloud(cloud.positions * TO_GLTF), geom_name="points", node_name="points")
    for view, corners in enumerate(frusta):
        camera = _wire_frame(corners * TO_GLTF, _CAMERA_COLOUR if view else _FIRST_CAMERA_COLOUR)
        scene.add_geometry(camera, geom_name=f"camera_{view}", node_name=f"camera_{view}")

    def add_colours(buffers: dict[Any, bytes], tree: dict[str, Any]) -> None:
        """trimesh itself would write colours of eight bits."""
        [points] = [mesh for mesh in tree["meshes"] if mesh["name"] == "points"]
        points["primitives"][0]["attributes"]["COLOR_0"] = len(tree["accessors"])
        described = {"bufferView": len(buffers), "componentType": _FLOAT, "type": "VEC3", "count": len(cloud)}
        buffers["colours"], tree["accessors"]["colours"] = _linear(cloud.colours).tobytes(), described

    scene.export(path, file_type="glb", buffer_postprocessor=add_colours)


def _linear(colours: UInt8[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
    """sRGB in 0…255 to linear light in 0…1, little-endian."""
    return to_linear(np.arange(256) / 255).astype("<f4")[colours]


def _wire_frame(corners: Float[np.ndarray, "5 3"], colour: tuple[float, ...]) -> trimesh.Trimesh:
    radius = _EDGE_THICKNESS * float(np.linalg.norm(corners[1] - corners[0]))
    rods = [
        trimesh.creation.cylinder(radius, segment=np.stack([corners[a], corners[b]]), sections=6)
        for a, b in FRUSTUM_EDGES
    ]
    vertices = np.concatenate([rod.vertices for rod in rods])
    faces = np.concatenate([rod.faces + i * len(rods[0].vertices) for i, rod in enumerate(rods)])
    material = PBRMaterial(
        baseColorFactor=colour,
        emissiveFactor=[0.4 * channel for channel in colour[:3]],  # visible without a lamp
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    return trimesh.Trimesh(vertices, faces, visual=TextureVisuals(material=material), process=False)
