"""Flat prints of faces before a camera that hardly moves: what a network that knows faces must not take for heads.

A print is a Rectangle, pinned on a board or held free in a room, slanted against the camera. The scene's region says where
it shows the face, so that only this is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import distance
from experiments.synthetic import cameras, interior, lights, materials, rooms
from experiments.synthetic.draws import Range, chance, pick, uniform
from experiments.synthetic.generator import rounded
from experiments.synthetic.placement import SLOTS, solid
from experiments.tasks.face_pictures import FacePicture
from experiments.tasks.naming import Name
from subspace.errors import InputError

FRAMES = 42
"""Of a path; a scene's views are taken from it in even steps (the paper: every sixth)."""
HEIGHT: Range = (0.2, 0.42)
"""Of a print, metres: from a page to a small poster."""
FILLED: Range = (0.5, 0.85)
"""Share of the picture's height that a print that faces the camera takes."""
SLANT = 35.0
"""Largest angle between the print's normal and the direction to the camera, degrees."""
ROLL = 12.0
BORDER = 0.015
"""Share of the picture's sides that stays free around the print in every view."""
CLEAR = 0.02
"""No other object is nearer to the print, or to what the cameras see it by, metres."""
BOARD = 0.006
"""Thickness, metres."""
REDRAWS = 60


@dataclass(frozen=True)
class PrintScenes:
    """Makes the scene of each picture."""

    pictures: list[FacePicture]

    def __call__(self, name: Name) -> schema.Scene:
        """The scene of a name.

        Raises:
            InputError: the print has no place in any of :data:`REDRAWS` draws.
        """
        picture = self.pictures[name.scene % len(self.pictures)]
        for redraw in range(REDRAWS):
            rng = name.stream(redraw)
            seen = _cameras(rng, name.settings.views, name.settings.resolution)
            flat = _print(rng, seen, picture)
            if not _within(seen, flat):
                continue
            board = [_board(rng, flat)] if chance(rng, 0.5) else []
            room = interior.furnished_room(rng, rooms.MODERATE)
            if _is_clear(seen, [flat, *board], room):
                break
        else:
            raise InputError(f"no place for the print of {name} in {REDRAWS} draws")
        palette = materials.palette(rng, materials.MODERATE)
        gloss = uniform(rng, (0.25, 0.9))
        objects = (*room, *board, flat)
        return rounded(
            schema.Scene(
                version=schema.SCHEMA_VERSION,
                provenance=name.provenance("micro_baseline"),
                objects=objects,
                materials=(*palette, schema.Material(picture.color, roughness=(gloss, gloss), specular=0.3)),
                lighting=lights.lighting(rng, lights.MODERATE, "micro_baseline"),
                cameras=seen,
                render=schema.RenderSettings(samples=name.settings.samples),
                region=schema.Region(len(objects) - 1, picture.mask.color, picture.mask.sha256),
            )
        )


def _cameras(rng: np.random.Generator, views: int, resolution: int) -> schema.Cameras:
    """Every n-th camera of a path of at least :data:`FRAMES`."""
    ranges = cameras.MODERATE["micro_baseline"]
    frames = max(FRAMES, views)
    path = cameras.cameras(rng, cameras.shared(rng, ranges), ranges, frames, resolution, resolution)
    step = frames // views
    return schema.Cameras(resolution, resolution, path.views[::step][:views])


def _print(rng: np.random.Generator, seen: schema.Cameras, picture: FacePicture) -> schema.Object:
    """Upright before the path's middle camera, about in the middle of its picture."""
    view = seen.views[len(seen.views) // 2]
    pose = np.reshape(view.world_to_camera, (3, 4))
    height, filled = uniform(rng, HEIGHT), uniform(rng, FILLED)
    away = max(height * view.fy / (filled * seen.height), cameras.CLOSEST + 0.02)
    free = max(0.0, 0.5 - filled / 2 - 2 * BORDER) * away * seen.height / view.fy
    center = np.array([*rng.uniform(-free, free, 2), away])
    # A Rectangle is seen from +z with y up; in the camera's frame that is -z and -y.
    facing = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    angle = uniform(rng, (0, 2 * np.pi))
    slant = Rotation.from_rotvec(np.radians(uniform(rng, (0, SLANT))) * np.array([np.cos(angle), np.sin(angle), 0.0]))
    roll = Rotation.from_euler("z", uniform(rng, (-ROLL, ROLL)), degrees=True)
    toward = Rotation.align_vectors(center[None], np.array([[0.0, 0.0, 1.0]]))[0]
    turn = Rotation.from_matrix(pose[:, :3].T) * toward * roll * slant * facing
    place = pose[:, :3].T @ (center - pose[:, 3])
    return solid("print", schema.Rectangle(), (height * picture.aspect, height, 0.0), SLOTS, place, turn)


def _board(rng: np.random.Generator, flat: schema.Object) -> schema.Object:
    """Behind the print, a little larger."""
    margin = uniform(rng, (0.01, 0.04))
    turn = Rotation.from_quat(flat.rotation, scalar_first=True)
    place = np.asarray(flat.location) - turn.apply((0, 0, BOARD / 2 + 0.001))
    size = (flat.size[0] + 2 * margin, flat.size[1] + 2 * margin, BOARD)
    return solid("board", schema.Box(), size, int(pick(rng, range(5, SLOTS))), place, turn)


def corners(flat: schema.Object) -> Float[np.ndarray, "4 3"]:
    """Of a Rectangle in the world, metres, from the lower left on counter-clockwise."""
    half = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * np.asarray(flat.size) / 2
    return Rotation.from_quat(flat.rotation, scalar_first=True).apply(half) + np.asarray(flat.location)


def _within(seen: schema.Cameras, flat: schema.Object) -> bool:
    """Whether every view shows the whole print."""
    ends = corners(flat)
    for view in seen.views:
        local = (
            ends @ np.reshape(view.world_to_camera, (3, 4))[:, :3].T + np.reshape(view.world_to_camera, (3, 4))[:, 3]
        )
        pixels = local[:, :2] / local[:, 2:] * (view.fx, view.fy) + (view.cx, view.cy)
        share = pixels / (seen.width, seen.height)
        if local[:, 2].min() <= 0 or share.min() < BORDER or share.max() > 1 - BORDER:
            return False
    return True


def _is_clear(seen: schema.Cameras, flat: list[schema.Object], room: tuple[schema.Object, ...]) -> bool:
    """Whether nothing of the room touches the print or its board, or stands between them and a camera."""
    steps = np.linspace(0, 1, 7)
    edges = np.concatenate([corners(item) for item in flat])
    middle = np.asarray(flat[0].location)
    grid = np.concatenate([middle + share * (edges - middle) for share in (0.0, 0.5, 1.0)])
    eyes = cameras.centers(seen)[[0, -1], None, None]
    points = (eyes + steps[:, None] * (grid[:, None] - eyes)).reshape(-1, 3)
    return cameras.too_near(seen, room) is None and all(distance(points, item).min() > CLEAR for item in room)
