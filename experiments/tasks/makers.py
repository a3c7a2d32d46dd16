"""The scene maker of each task and split."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from experiments.data.manifest import TaskSettings
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering.pool import Executor
from experiments.scenes.schema import Scene
from experiments.synthetic.generator import make_scene
from experiments.tasks import glass, scans
from experiments.tasks.naming import Name

BODIES, PICTURES = "bodies", "pictures"
"""Folders beside the splits."""


def task_scenes(
    settings: TaskSettings,
    output: Path,
    scenes: int,
    up: scans.Axis,
    executor: Callable[[], AbstractContextManager[Executor]],
    reporter: Reporter = SILENT,
) -> Callable[[Name], Scene]:
    """What makes the scenes of a split; bodies and pictures that they need are made first.

    Args:
        settings: of the split.
        output: the task's folder.
        scenes: how many there will be.
        up: the up axis of the user's meshes.
        executor: renders the heads of the faces.
        reporter: is told of progress.

    Raises:
        InputError: unusable meshes, or the extra ``tasks`` is missing.
        OSError: the folder cannot be written.
    """
    if settings.task == "glass":
        return glass.make_scene
    if settings.task == "humans":
        assets = output / BODIES / settings.split
        if settings.meshes is not None:
            found = scans.find_meshes(Path(settings.meshes))
        else:
            from experiments.tasks.bodies import make_bodies

            found = make_bodies(assets / "meshes", settings.split, scenes, settings.seed, reporter)
        return scans.MeshScenes(found[:scenes], assets / "parts", up, reporter)
    if settings.task == "heads":
        from experiments.tasks.bodies import make_bodies
        from experiments.tasks.portraits import PortraitScenes

        assets = output / BODIES / settings.split
        bodies = make_bodies(assets / "meshes", "portraits", scenes, settings.seed, reporter)
        return PortraitScenes(bodies, assets / "parts")
    if settings.split == "train":
        return _room
    from experiments.tasks import face_pictures, faces

    pictures = face_pictures.make_pictures(output / PICTURES, scenes, settings.seed, executor, reporter)
    return faces.PrintScenes(pictures)


def _room(name: Name) -> Scene:
    """A room of ``experiments.generate``, everything in it drawn anew for each scene."""
    settings = name.settings
    return make_scene(
        "mixed", "micro_baseline", seed=settings.seed, dataset=name.dataset, scene=name.scene, attempt=name.attempt,
        views=settings.views, width=settings.resolution, height=settings.resolution, samples=settings.samples,
    )  # fmt: skip
