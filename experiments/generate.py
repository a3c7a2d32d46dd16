"""Multi-view data sets in which one attribute varies and everything else is held fixed, rendered by Blender.

``python -m experiments.generate --attribute=geometry --setting=object_centric`` makes five data sets of 16 scenes with 8
views of 96 × 96 pixels in one to three minutes on two cores, the ones that ``experiments.extract`` takes. Within a data set
only the attribute varies from scene to scene; from one data set to the next the others are drawn anew (Section 4.1 of the
paper). Each data set has images, depth, normals, object ids, cameras and the complete specification of its scenes; the
package ``experiments.data`` describes the files and reads them.

A command that was interrupted goes on where it stopped; one that is complete does nothing. Data sets are the same, bit by
bit, whatever the number of workers and of interruptions. Where pictures of ``--textures`` have changed since, the scenes that
show them are made again; data sets of other settings are replaced only with ``--overwrite``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.presets import PRESETS
from experiments.process.command_line import DEFINE_path, DEFINE_path_or_name, run
from experiments.process.reporting import console
from experiments.rendering import Generated, Settings, generate
from experiments.scenes.schema import MOST_SAMPLES, MOST_SCENES, Attribute, Setting
from experiments.storage.store_flags import DEFINE_store

_NUMBERS = ("datasets", "scenes", "views", "resolution", "samples")


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    settings = Settings.of(
        given.preset,
        attribute=given.attribute,
        setting=given.setting,
        seed=given.seed,
        glass=PRESETS[given.preset].rendering.glass if given.glass is None else given.glass,
        textures=given.textures,
        store=given.store,
        output=given.output,
        workers=given.workers,
        blender=given.blender,
        executor=executor_of(),
        verify=given.verify,
        overwrite=given.overwrite,
        **{name: given[name].value for name in _NUMBERS if given[name].value is not None},
    )
    print(closing_line(settings, generate(settings, console())))


def closing_line(settings: Settings, made: Generated) -> str:
    """What was written, for people."""
    content = (
        f"{len(made.datasets)} data set(s), {made.scenes} scenes × {settings.views} views of "
        f"{settings.resolution}×{settings.resolution} pixels"
    )
    failed = f"; {made.failed} scene(s) could not be rendered, see manifest.json" if made.failed else ""
    if not made.rendered:
        return f"nothing to do: {made.folder} holds {content}{failed}"
    sheets = f"look at {made.folder}/dataset_*/contact_sheet.png"
    return f"wrote {content} to {made.folder} in {made.seconds:.0f} s{failed}; {sheets}"


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
    flags.DEFINE_integer(
        "datasets", None, "number of data sets (nano 5, vggt_1b 5 or 10)", lower_bound=1, upper_bound=MOST_SCENES
    )
    flags.DEFINE_integer(
        "scenes", None, "scenes of each data set (nano 16, vggt_1b 208)", lower_bound=1, upper_bound=MOST_SCENES
    )
    flags.DEFINE_integer("views", None, "views of each scene (nano 8, vggt_1b 100)", lower_bound=1)
    flags.DEFINE_integer("resolution", None, "width and height in pixels (nano 96, vggt_1b 518)", lower_bound=14)
    flags.DEFINE_integer(
        "samples",
        None,
        "light paths per pixel: 4 to train, 16 to evaluate (4)",
        lower_bound=1,
        upper_bound=MOST_SAMPLES,
    )
    flags.DEFINE_boolean(
        "glass", None, "let some objects be transparent (nano yes; vggt_1b no, as the paper mines without)"
    )
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    DEFINE_store("folder that commands share")
    DEFINE_path("output", None, "folder to make or to complete; by default below STORE/data, named by the settings")
    DEFINE_path("textures", None, "folder of pictures or of PBR materials, used beside the procedural ones")
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    DEFINE_path_or_name(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    DEFINE_executor()
    flags.DEFINE_boolean(
        "verify", False, "hash all files of finished data sets; otherwise only those that have been changed since"
    )
    flags.DEFINE_boolean("overwrite", False, "replace data sets of other settings, of other sources or of more scenes")
    run(main)
