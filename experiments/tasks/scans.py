"""Scenes of one person each, from a folder of textured meshes: scans, or :mod:`experiments.tasks.bodies`.

On disk, THuman 2.1 has a folder for each scan (``0000/0000.obj``, ``material0.mtl``, ``material0.jpeg``), 2K2K one PLY file
with colours of about a million vertices for each person; it also comes thinned to 50,000 vertices. Give the folder that
holds all scans of one split, in one resolution; how the files are nested does not matter. Every mesh is a scene, in the
order of the paths. The body stands with its feet on z = 0 about the origin, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from experiments.data.manifest import TaskSettings
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes import mesh_files, schema
from experiments.storage.walking import files_below
from experiments.synthetic.cameras import from_poses, look_at
from experiments.synthetic.draws import Range, uniform
from experiments.synthetic.generator import rounded
from experiments.synthetic.placement import solid, vec3
from experiments.tasks.naming import Name, azimuths
from subspace.errors import InputError
from vggt_jax.missing import no_folder

Axis = Literal["y", "z"]
UNITS = (("m", 1.0), ("cm", 0.01), ("mm", 0.001))
HEIGHT: Range = (0.45, 2.6)
"""Metres, of people, arms raised or not. A height that is within it in none of the units belongs to a scan that was
normalised, and is made :data:`NORMALISED`."""
NORMALISED = 1.7
LYING = 1.5
"""Times its height that something is wide or deep which hardly stands; with arms spread a person is as wide as high."""
ELEVATION: Range = (-5.0, 25.0)
"""Degrees above the horizon."""
FIELD_OF_VIEW: Range = (38.0, 55.0)
FILLED: Range = (0.8, 0.93)
"""Share of the picture, from its middle to its border, that the body reaches at most in any view."""
SKY: Range = (0.5, 0.9)
POWER: Range = (35.0, 70.0)
"""W, of each of four area lights."""


def find_meshes(folder: Path) -> list[Path]:
    """The mesh files below a folder, in the order of their paths.

    Raises:
        InputError: there are none, or no such folder.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise InputError(no_folder(folder), argument="meshes")
    found = files_below(folder, mesh_files.SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no meshes ({', '.join(sorted(mesh_files.SUFFIXES))})")
    return found


def standing(parts: list[mesh_files.Part], up: Axis = "y") -> list[mesh_files.Part]:
    """Turned so that the file's up axis is z, scaled to metres, its feet on z = 0 and its middle above the origin.

    A file with y up looks along z, and along -y afterwards.
    """
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) if up == "y" else np.eye(3)
    turned = [part.vertices @ axes.T for part in parts]
    extent, middle = mesh_files.box(np.concatenate(turned))
    scale = next((u for _, u in UNITS if HEIGHT[0] <= u * extent[2] <= HEIGHT[1]), NORMALISED / extent[2])
    foot = middle - (0, 0, extent[2] / 2)
    return [replace(part, vertices=scale * (vertices - foot)) for part, vertices in zip(parts, turned, strict=True)]


@dataclass(frozen=True)
class MeshScenes:
    """Makes the scene of each mesh.

    Args:
        paths: of the meshes.
        folder: where what the renderer takes is written; made if need be.
        up: the files' up axis.
        reporter: is told of bodies that seem to lie, and of what meshes say about colour that is not rendered.
    """

    paths: list[Path]
    folder: Path
    up: Axis = "y"
    reporter: Reporter = SILENT
    told: set[mesh_files.LeftOut | None] = field(default_factory=set)
    """What the reporter was told of: each kind of thing once, of the first mesh; None stands for lying."""

    def __call__(self, name: Name) -> schema.Scene:
        """The scene of a name.

        Raises:
            InputError: the mesh cannot be used.
            OSError: the folder cannot be written.
        """
        path = self.paths[name.scene]
        parts = standing(mesh_files.read(path), self.up)
        self._tell(path, parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        stems = [f"{name.scene:04d}_{i}" for i in range(len(parts))]
        objects = []
        for i, (part, stem) in enumerate(zip(parts, stems, strict=True)):
            size, middle = mesh_files.box(part.vertices)
            objects.append(solid(path.stem, mesh_files.write(part, self.folder, stem), size, i, middle))
        looks = mesh_files.write_looks(parts, self.folder, stems)
        materials = [schema.Material(base=look, roughness=(0.8, 0.8), specular=0.25) for look in looks]
        rng = name.stream()
        settings: TaskSettings = name.settings
        return rounded(
            schema.Scene(
                version=schema.SCHEMA_VERSION,
                provenance=name.provenance("object_centric"),
                objects=tuple(objects),
                materials=tuple(materials),
                lighting=_even_light(rng),
                cameras=round_about(rng, np.concatenate([part.vertices for part in parts]), settings),
                render=schema.RenderSettings(samples=settings.samples),
            )
        )

    def _tell(self, path: Path, parts: list[mesh_files.Part]) -> None:
        left_out = frozenset().union(*(part.left_out for part in parts)) - self.told
        if left_out:
            self.reporter.info(f"{path} (and maybe others): not rendered are {', '.join(sorted(left_out))}")
        self.told.update(left_out)
        width, depth, height = mesh_files.box(np.concatenate([part.vertices for part in parts]))[0]
        if max(width, depth) > LYING * height and None not in self.told:
            self.told.add(None)
            stands = f"; up={'z' if self.up == 'y' else 'y'} would make its depth its height" if depth >= width else ""
            self.reporter.warning(
                f"{path} (and maybe others): a body of {width:.1f} × {depth:.1f} × {height:.1f} m (width, depth, height) "
                f"seems to lie{stands}"
            )


def round_about(rng: np.random.Generator, points: Float[np.ndarray, "n 3"], settings: TaskSettings) -> schema.Cameras:
    """Cameras on a circle, all of which see all the points; at one height, and as near as the narrowest view allows."""
    if len(points) > 1000:
        points = points[ConvexHull(points).vertices]
    target = mesh_files.box(points)[1]
    field_of_view, elevation = uniform(rng, FIELD_OF_VIEW), np.radians(uniform(rng, ELEVATION))
    azimuth = azimuths(rng, settings)
    level = np.full(len(azimuth), np.sin(elevation))
    toward = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), level], axis=1)
    turns = [look_at(target + way, target, 0.0) for way in toward]
    local = np.einsum("vij,nj->vni", np.array(turns), points - target)
    # A point is within the picture's share s if |x| / (distance + z) <= s tan(fov / 2), and the same for y.
    reach = uniform(rng, FILLED) * np.tan(np.radians(field_of_view) / 2)
    distance = float((np.abs(local[..., :2]).max(axis=-1) / reach - local[..., 2]).max())
    return from_poses(
        [(turn, target + distance * way) for turn, way in zip(turns, toward, strict=True)],
        field_of_view, settings.resolution, settings.resolution,
    )  # fmt: skip


def _even_light(rng: np.random.Generator) -> schema.Lighting:
    """A bright sky and an area light in each quarter."""
    turn, lamps = uniform(rng, (0, np.pi / 2)), []
    for quarter in range(4):
        angle = turn + quarter * np.pi / 2
        position = np.array([2.5 * np.cos(angle), 2.5 * np.sin(angle), uniform(rng, (1.5, 3.0))])
        aim = np.array([0, 0, 0.9]) - position
        lamps.append(
            schema.AreaLight(
                position=vec3(position), direction=vec3(aim / np.linalg.norm(aim)), size=(1.5, 1.5),
                color=(1.0, 1.0, 1.0), power=uniform(rng, POWER),
            )
        )  # fmt: skip
    grey = uniform(rng, (0.85, 1.0))
    return schema.Lighting(schema.UniformSky((grey, grey, 1.0), uniform(rng, SKY)), tuple(lamps))
