"""Table-top scenes of transparent things, in place of ClearPose: its sets of bottles, cups and bowls on a textured support.

Unlike a depth camera's, the depth is right: that of the first glass surface, which the glass mask marks.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from experiments.data.manifest import TaskSettings
from experiments.scenes import schema
from experiments.synthetic import lights, materials
from experiments.synthetic.cameras import from_poses, look_at
from experiments.synthetic.draws import Count, Range, count, pick, uniform
from experiments.synthetic.generator import rounded
from experiments.synthetic.placement import SLOTS, UP, solid
from experiments.synthetic.things import thing
from experiments.tasks.naming import Name, azimuths
from experiments.tasks.vessels import glass_material, glass_thing
from subspace.errors import InputError

GLASS: Count = (5, 9)
"""Transparent things; there are about 12 transparent and a few opaque ones on a table of ClearPose."""
OPAQUE: Count = (1, 3)
OPAQUE_SIZE: Range = (0.08, 0.18)
"""Metres."""
TABLE: Range = (0.48, 0.6)
"""Half the sides of the table, metres."""
SPREAD = 0.3
"""Things stand within so many metres of the middle along each side."""
ELEVATION: Range = (18.0, 60.0)
DISTANCE: Range = (0.65, 0.95)
"""Of the cameras from the middle of the things, metres."""
FIELD_OF_VIEW: Range = (45.0, 60.0)
BOUNCES = 12
"""Two vessels, one behind the other, have eight walls."""
TRIES = 200


def make_scene(name: Name) -> schema.Scene:
    """The scene of a name: the same gives the same."""
    rng = name.stream()
    objects, glasses = _objects(rng)
    opaque = [m for m in materials.palette(rng, materials.MODERATE) if m.transmission == 0]
    settings = name.settings
    return rounded(
        schema.Scene(
            version=schema.SCHEMA_VERSION,
            provenance=name.provenance("object_centric"),
            objects=objects,
            materials=(
                *(opaque[i % len(opaque)] for i in range(SLOTS)),
                *(glass_material(rng) for _ in range(glasses)),
            ),
            lighting=lights.lighting(rng, lights.MODERATE, "object_centric"),
            cameras=_cameras(rng, settings),
            render=schema.RenderSettings(samples=settings.samples, bounces=BOUNCES),
        )
    )


_SUPPORT, _GROUND, _GLASS = 0, 1, SLOTS
"""Materials: a palette without glass, then one for each thing of glass."""


def _objects(rng: np.random.Generator) -> tuple[tuple[schema.Object, ...], int]:
    """Table, ground and things, and how many of these are glass."""
    half = uniform(rng, TABLE)
    shape = pick(rng, [schema.Cylinder(bevel=0.005), schema.Box(bevel=0.005)])
    turn = Rotation.from_rotvec(UP * uniform(rng, (0, np.pi)))
    objects = [
        solid("table", shape, (2 * half, 2 * half, 0.04), _SUPPORT, (0, 0, -0.02), turn, role="furniture"),
        solid("ground", schema.Rectangle(), (6.0, 6.0, 0.0), _GROUND, (0, 0, -0.75), role="room"),
    ]
    glasses = count(rng, GLASS)
    made = [glass_thing(rng, _GLASS + i) for i in range(glasses)]
    made += [thing(rng, uniform(rng, OPAQUE_SIZE)) for _ in range(count(rng, OPAQUE))]
    circles: list[tuple[np.ndarray, float]] = []
    for item in sorted(made, key=lambda item: -item.radius):
        place = _free_place(rng, circles, item.radius)
        circles.append((place, item.radius))
        objects += item.moved((*place, 0.0), yaw=uniform(rng, (-np.pi, np.pi))).objects
    return tuple(objects), glasses


def _free_place(rng: np.random.Generator, circles: list[tuple[np.ndarray, float]], radius: float) -> np.ndarray:
    for _ in range(TRIES):
        place = rng.uniform(-SPREAD, SPREAD, 2)
        if all(np.hypot(*(place - other)) > radius + taken for other, taken in circles):
            return place
    raise InputError(f"no place for {len(circles) + 1} things on the table in {TRIES} tries")


def _cameras(rng: np.random.Generator, settings: TaskSettings) -> schema.Cameras:
    """A round about the table, or a part of one, that rises and sinks."""
    views = settings.views
    azimuth = azimuths(rng, settings)
    control = np.stack([rng.uniform(*np.sin(np.radians(ELEVATION)), size=5), rng.uniform(*DISTANCE, size=5)], axis=1)
    path = PchipInterpolator(np.arange(6), np.concatenate([control, control[:1]]))
    target = rng.uniform((-0.05, -0.05, 0.03), (0.05, 0.05, 0.1))
    poses = []
    for angle, (sine, reach) in zip(azimuth, path(5 * np.arange(views) / views), strict=True):
        level = np.sqrt(1 - sine * sine)
        center = target + reach * np.array([level * np.cos(angle), level * np.sin(angle), sine])
        poses.append((look_at(center, target, 0.0), center))
    return from_poses(poses, uniform(rng, FIELD_OF_VIEW), settings.resolution, settings.resolution)
