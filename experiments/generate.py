"""Multi-view data sets in which one attribute varies and everything else is held fixed, rendered by Blender.

``python -m experiments.generate --attribute=geometry --setting=object_centric`` makes five data sets of 20 scenes with 8
views of 112 × 112 pixels in one to three minutes on two cores. Within a data set only the attribute varies from scene to scene;
from one data set to the next the others are drawn anew (Section 4.1 of the paper). Each data set has images, depth, normals,
object ids, cameras and the complete specification of its scenes; :mod:`experiments.data` describes the files and reads them.

A command that was interrupted goes on where it stopped; one that is complete does nothing. Data sets are the same, bit by
bit, whatever the number of workers and of interruptions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.data.manifest import Settings
from experiments.process.cores import available_cores
from experiments.rendering import runs
from experiments.rendering.blender_command import worker_command
from experiments.rendering.pool import LocalPool
from experiments.scenes.schema import Attribute, Scene, Setting
from weights_convert.command_line import run


@dataclass(frozen=True)
class Preset:
    """How much is rendered."""

    datasets: int
    scenes: int
    views: int
    resolution: int
    samples: int


PRESETS = {
    "nano": Preset(datasets=5, scenes=20, views=8, resolution=112, samples=4),
    "vggt_1b": Preset(datasets=10, scenes=200, views=100, resolution=518, samples=4),
}


def generate(
    settings: Settings,
    output: Path,
    datasets: int,
    scenes: int,
    workers: int | None = None,
    blender: str | None = None,
    verify: bool = False,
) -> str:
    """Run the command.

    Args:
        settings: of all data sets.
        output: the folder to make, or to complete.
        datasets: how many.
        scenes: of each.
        workers: Blender processes; by default one for each core.
        blender: see :func:`experiments.rendering.blender_command.worker_command`.
        verify: hash the files of finished data sets too.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: unusable textures, a folder with something else, or a data set that cannot be rendered at all.
        OSError: no Blender, or a folder that cannot be written.
    """

    def scene_maker() -> runs.SceneMaker:
        from experiments.synthetic.generator import make_scene
        from experiments.synthetic.textures import find_textures

        textures = tuple(find_textures(Path(settings.textures))) if settings.textures else ()

        def make(dataset: int, scene: int, attempt: int) -> Scene:
            return make_scene(
                settings.attribute,
                settings.setting,
                seed=settings.seed,
                dataset=dataset,
                scene=scene,
                attempt=attempt,
                views=settings.views,
                width=settings.resolution,
                height=settings.resolution,
                samples=settings.samples,
                textures=textures,
            )

        return make

    def executor() -> LocalPool:
        return LocalPool(worker_command(blender), len(available_cores()) if workers is None else workers)

    outcome = runs.generate(output, settings, datasets, scenes, scene_maker, executor, verify)
    content = (
        f"{datasets} data set(s), {outcome.scenes} scenes × {settings.views} views of "
        f"{settings.resolution}×{settings.resolution} pixels"
    )
    failed = f"; {outcome.failed} scene(s) could not be rendered, see manifest.json" if outcome.failed else ""
    if not outcome.rendered:
        return f"nothing to do: {output} holds {content}{failed}"
    return (
        f"wrote {content} to {output} in {outcome.seconds:.0f} s{failed}; look at {output}/dataset_*/contact_sheet.png"
    )


def default_folder(settings: Settings) -> str:
    """A name that data sets with other settings do not have, but for the user's own textures."""
    return (
        f"{settings.attribute}_{settings.setting}_{settings.resolution}px_{settings.views}views_{settings.samples}spp_"
        f"seed{settings.seed}"
    )


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    preset = PRESETS[given.preset]

    def chosen(name: str) -> int:
        value: int | None = given[name].value
        return getattr(preset, name) if value is None else value

    settings = Settings(
        attribute=given.attribute,
        setting=given.setting,
        seed=given.seed,
        views=chosen("views"),
        resolution=chosen("resolution"),
        samples=chosen("samples"),
        textures=given.textures and os.path.abspath(given.textures),
    )
    output = given.output or f"runs/data/{default_folder(settings)}"
    print(
        generate(
            settings, Path(output), chosen("datasets"), chosen("scenes"), given.workers, given.blender, given.verify
        )
    )


if __name__ == "__main__":
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "default numbers: nano for CPUs, vggt_1b as in the paper")
    flags.DEFINE_enum("attribute", "geometry", list(get_args(Attribute)), "what varies from scene to scene")
    flags.DEFINE_enum(
        "setting",
        "object_centric",
        list(get_args(Setting)),
        "micro_baseline: a room and a camera that hardly moves; object_centric: no room, cameras all around; "
        "wide_baseline: a room and a camera that walks about in it",
    )
    flags.DEFINE_integer("datasets", None, "number of data sets (nano 5, vggt_1b 10)", lower_bound=1)
    flags.DEFINE_integer("scenes", None, "scenes of each data set (nano 20, vggt_1b 200)", lower_bound=1)
    flags.DEFINE_integer("views", None, "views of each scene (nano 8, vggt_1b 100)", lower_bound=1)
    flags.DEFINE_integer("resolution", None, "width and height in pixels (nano 112, vggt_1b 518)", lower_bound=14)
    flags.DEFINE_integer("samples", None, "light paths per pixel: 4 to train, 16 to evaluate (4)", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    flags.DEFINE_string(
        "output", None, "folder to make or to complete; by default below runs/data, named by the settings"
    )
    flags.DEFINE_string("textures", None, "folder of pictures or of PBR materials, used beside the procedural ones")
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    flags.DEFINE_string(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    flags.DEFINE_boolean(
        "verify", False, "hash all files of finished data sets; otherwise only those that have been changed since"
    )
    run(main)
