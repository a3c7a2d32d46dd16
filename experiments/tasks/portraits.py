"""Heads of bodies before a plain background, as a photographer would take them: from one place, or from several around."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.data.manifest import TaskSettings
from experiments.scenes import mesh_files, schema
from experiments.synthetic.cameras import from_poses, look_at
from experiments.synthetic.draws import Range, uniform
from experiments.synthetic.generator import rounded
from experiments.synthetic.palettes import oklch
from experiments.synthetic.placement import solid, vec3
from experiments.tasks.naming import Name
from experiments.tasks.scans import standing

HEAD = 0.142
"""Share of the body's height that the head takes, from the chin up: adults' are 1/7.5 to 1/7."""
FIELD_OF_VIEW = 24.0
FIELDS_OF_VIEW: Range = (24.0, 45.0)
"""Of several views of one head; nearer than at the widest, noses would be larger than a photographer likes."""
FILLED: Range = (0.55, 0.7)
"""Share of the picture's height that the head takes."""
YAW, PITCH = 18.0, 8.0
"""Of the camera about the head, degrees."""


@dataclass(frozen=True)
class PortraitScenes:
    """Makes the portrait of each mesh, whose head is the scene's first object.

    Args:
        paths: of bodies that stand upright, look along z and have y up, a head the last of their parts by height.
        folder: where what the renderer takes is written; made if need be.
    """

    paths: list[Path]
    folder: Path

    def __call__(self, name: Name) -> schema.Scene:
        """The scene of a name."""
        [body] = standing(mesh_files.read(self.paths[name.scene]))
        self.folder.mkdir(parents=True, exist_ok=True)
        chin = (1 - HEAD) * body.vertices[:, 2].max()
        high = (body.vertices[body.faces][..., 2] > chin).all(axis=1)
        stem = f"{name.scene:04d}"
        assert body.picture is not None  # bodies have one
        skin = mesh_files.write_picture(body.picture, self.folder / f"{stem}.png")
        objects, head = [], np.zeros((0, 3))
        for part, chosen in (("head", high), ("body", ~high)):
            cut = _cut(body, chosen)
            size, middle = mesh_files.box(cut.vertices)
            objects.append(solid(part, mesh_files.write(cut, self.folder, f"{stem}_{part}"), size, 0, middle))
            head = cut.vertices if part == "head" else head
        objects.append(_backdrop())
        rng = name.stream()
        extent, target = mesh_files.box(head)
        yaw, pitch = np.radians(uniform(rng, (-YAW, YAW))), np.radians(uniform(rng, (-PITCH, PITCH)))
        filled = uniform(rng, FILLED)
        return rounded(
            schema.Scene(
                version=schema.SCHEMA_VERSION,
                provenance=name.provenance("object_centric"),
                objects=tuple(objects),
                materials=(
                    schema.Material(skin, roughness=(0.55, 0.55), specular=0.35),
                    schema.Material(schema.Plain(oklch(uniform(rng, (0.4, 0.85)), 0.06, uniform(rng, (0, 360))))),
                ),
                lighting=_studio(rng, target),
                cameras=_around(rng, target, float(extent[2]), float(yaw), float(pitch), filled, name.settings),
                render=schema.RenderSettings(samples=name.settings.samples),
            )
        )


def _around(
    rng: np.random.Generator,
    target: np.ndarray,
    height: float,
    yaw: float,
    pitch: float,
    filled: float,
    settings: TaskSettings,
) -> schema.Cameras:
    """One view of a head of this height, or several in even steps over the settings' turn, the middle one of which is that."""
    field_of_view, yaws = FIELD_OF_VIEW, np.array([yaw])
    if settings.turn is not None:
        field_of_view = uniform(rng, FIELDS_OF_VIEW)
        yaws = yaw + np.radians(settings.turn) * (np.linspace(0, 1, settings.views) - 0.5)
    reach = height / filled / 2 / np.tan(np.radians(field_of_view) / 2)
    level = np.full(len(yaws), np.sin(pitch))
    toward = np.stack([np.sin(yaws) * np.cos(pitch), -np.cos(yaws) * np.cos(pitch), level], axis=1)
    aim = target - (0, 0, 0.15 * height)
    centers = target + reach * toward
    poses = [(look_at(center, aim, 0.0), center) for center in centers]
    return from_poses(poses, field_of_view, settings.resolution, settings.resolution)


def _cut(part: mesh_files.Part, chosen: np.ndarray) -> mesh_files.Part:
    """Some of the triangles, with the vertices that they use."""
    used, inverse = np.unique(part.faces[chosen], return_inverse=True)
    assert part.uv is not None
    return replace(part, vertices=part.vertices[used], faces=inverse.reshape(-1, 3), uv=part.uv[chosen])


def _backdrop() -> schema.Object:
    """Upright, a metre behind the body, which looks along -y."""
    half_turn = np.sqrt(0.5)
    wall = solid("backdrop", schema.Rectangle(), (6.0, 6.0, 0.0), 1, (0.0, 1.0, 1.5))
    return schema.Object(
        wall.name, "room", wall.shape, wall.size, (float(half_turn), float(half_turn), 0.0, 0.0), wall.location, 1
    )


def _studio(rng: np.random.Generator, target: np.ndarray) -> schema.Lighting:
    """A large key light on one side, a weaker one on the other."""
    side, lamps = 1.0 if rng.random() < 0.5 else -1.0, []
    for place, power in (
        ((side * 1.0, -1.2, 0.7), uniform(rng, (20, 35))),
        ((-side * 1.3, -1.0, 0.3), uniform(rng, (6, 14))),
    ):
        position = target + np.array(place)
        aim = target - position
        lamps.append(
            schema.AreaLight(
                vec3(position), vec3(aim / np.linalg.norm(aim)), (0.6, 0.6), (1.0, 0.97, 0.93), float(power)
            )
        )
    return schema.Lighting(schema.UniformSky((1.0, 1.0, 1.0), uniform(rng, (0.25, 0.5))), tuple(lamps))
