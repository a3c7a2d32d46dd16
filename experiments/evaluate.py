"""How good are depth and point clouds of a model, with an adapter or without, on data sets with known truth?

``python -m experiments.evaluate --adapter=adapter.safetensors --data=geometry/dataset_00``
runs the model on the scenes of data sets and writes

- ``scenes.csv``: accuracy, completeness, normal consistency (means and medians), AbsRel and δ < 1.25 of every scene; of its
  cameras RRA, RTA and AUC at 5, 10 and 30 degrees, ATE and RPE;
- ``summary.json``: their means, settings and views, and the scenes that were left out;
- ``report.html``, ``pictures/``: predicted against true clouds and error maps of the best, median and worst scene.

``--predictions=FOLDER`` evaluates stored depth maps and cameras in place of a model, and says what in them looks like another
convention; depths that are NaN, infinite or 0 are left out. ``--side_by_side=LoRA=FOLDER,Ours=FOLDER`` draws what several
methods made of the same scenes, as the paper's Figs. 7, 8, S1 and S2 do. Of recorded data sets without poses,
only depth is evaluated. ``--compare=first,second`` tells two results apart by a paired t test over their scenes. A scene
of 8 × 518² points takes seconds, beside the model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.evaluation.settings import Mask, Settings
from experiments.presets import SMALL_MODEL
from experiments.process.command_line import (
    DEFINE_named_paths,
    DEFINE_path,
    DEFINE_path_or_name,
    DEFINE_paths,
    InputError,
    refuse,
    run,
    run_if_new,
)
from experiments.process.host_flags import DEFINE_mesh_and_hosts, join_processes, mesh_of
from experiments.process.hosts import first_console
from experiments.storage.store_flags import DEFINE_store, DEFINE_stored

_OF_EVALUATION = (
    "data", "weights", "adapter", "predictions", "views", "held_out", "mask", "exact", "save_predictions", "output", "store",
    "overwrite", "mesh", "executor", "retries",
)  # fmt: skip

_NOT_DRAWN = tuple(
    name for name in _OF_EVALUATION if name not in ("data", "views", "held_out", "mask", "output", "overwrite")
)


def _draw_side_by_side(given: flags.FlagValues) -> None:
    from experiments.evaluation.side_by_side import Settings, draw_side_by_side

    pairs = [each.rpartition("=") for each in given.side_by_side]
    if len(given.data) != 1:
        raise InputError(f"--side_by_side draws scenes of one data set, --data names {len(given.data)}")
    if given.output is None:
        raise InputError("--output is missing, the folder of the pictures")
    results = {name or Path(folder).name: Path(folder) for name, _, folder in pairs}
    if len(results) < len(pairs):
        raise InputError("--side_by_side: two results have one name; say NAME=FOLDER")
    settings = Settings(
        data=Path(given.data[0]),
        results=results,
        scenes=tuple(given.scenes or ()),
        views=given.views,
        held_out=given.held_out,
        mask=given.mask,
        output=Path(given.output),
        overwrite=given.overwrite,
    )
    for made in draw_side_by_side(settings, first_console()):
        print(f"wrote {made}")


def _print_comparison(first: Path, second: Path) -> None:
    from experiments.evaluation import compare
    from experiments.evaluation.report import comparison_table

    found = compare(first, second)
    print(f"{found.scenes} scenes; first: {first}, second: {second}\n{comparison_table(found.differences)}")


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.compare:
        if len(given.compare) != 2:
            raise InputError(f"--compare takes two results with a comma between them, got {len(given.compare)}")
        refuse(_OF_EVALUATION, "with --compare, which evaluates nothing")
        _print_comparison(*given.compare)
        return
    if not given.data:
        raise InputError("--data is missing, see --help")
    if given.side_by_side:
        refuse(_NOT_DRAWN, "with --side_by_side, which evaluates nothing")
        _draw_side_by_side(given)
        return
    refuse(["scenes"], "without --side_by_side")
    if given.predictions is not None:
        refuse(["weights", "save_predictions", "mesh"], "with --predictions, which are those of a finished model")
    settings = Settings(
        data=tuple(Path(os.path.abspath(folder)) for folder in given.data),
        weights=given.weights,
        adapter=given.adapter,
        predictions=given.predictions,
        views=given.views,
        held_out=given.held_out,
        mask=given.mask,
        exact=given.exact,
        mesh=mesh_of(),
        save_predictions=given.save_predictions,
        store=given.store,
        output=given.output,
        overwrite=given.overwrite,
        executor=executor_of(),
    )

    if settings.executor is None:  # on a cluster nodes join each other
        join_processes()
    from experiments.process.compilation_cache import keep_compiled

    keep_compiled()
    from experiments.evaluation.pipeline import work_of
    from experiments.evaluation.report import table

    found = run_if_new(work_of(settings, first_console()))
    left_out = f", {len(found.results.skipped)} left out" if found.results.skipped else ""
    print(
        f"{table(found.results)}\nwrote {found.folder}: {len(found.results.scenes)} scene(s){left_out}, "
        f"{found.seconds:.1f} s; open {found.folder}/report.html"
    )


if __name__ == "__main__":
    DEFINE_stored("data", None, "folders of data sets of experiments.generate, with commas")
    DEFINE_path(
        "output", None, "folder to make; nothing is left there if anything fails; by default STORE/evaluate/MODEL-HASH"
    )
    DEFINE_store("folder of the results of all commands")
    DEFINE_path_or_name(
        "weights",
        SMALL_MODEL,
        "a VGGT: a file, a folder, hf:OWNER/NAME of the Hugging Face hub, or nano_2 or nano (shipped)",
    )
    DEFINE_path("adapter", None, "an adapter of that model: this project's file or a PEFT folder; by default none")
    DEFINE_path(
        "predictions",
        None,
        "in place of a model: a folder with DATASET/SCENE.npz, each with depths (s, h, w), extrinsics (s, 3, 4; world to "
        "camera), intrinsics (s, 3, 3; pixels) and views (s), as --save_predictions writes them",
    )
    flags.DEFINE_string(
        "views",
        None,
        "views of each scene to evaluate, together: nano, eight, frames, video, captures, circle, vggt_1b (committed lists), "
        "or numbers with commas; by default the list made for scenes with so many views, video for those with 42",
    )
    flags.DEFINE_integer(
        "held_out",
        None,
        "only so many of each data set's last scenes, which experiments.extract does not train on; by default all",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "mask",
        "valid",
        get_args(Mask),
        "pixels that count: all with a surface, those with a transparent one, or those of the masks that are stored with the "
        "scenes, such as the faces on printed pictures (all of a scene without masks)",
    )
    flags.DEFINE_boolean(
        "exact",
        False,
        "look up every point's neighbour in scenes of more than 50,000 points too, not a sample of 20,000",
    )
    flags.DEFINE_boolean("save_predictions", False, "keep the model's depth maps and cameras, for --predictions")
    flags.DEFINE_boolean(
        "overwrite",
        False,
        "make results or pictures again, also in place of results of other settings in the output folder",
    )
    DEFINE_mesh_and_hosts("(adapter is 1 here), scenes, the model's large matrices; by default all devices take scenes")
    DEFINE_executor()
    DEFINE_named_paths(
        "side_by_side",
        None,
        "NAME=FOLDER,NAME=FOLDER,…: results with --save_predictions on the data set in --data; draw what was shown, the truth "
        "and each of them into --output/SCENE.png, and stop",
    )
    flags.DEFINE_list(
        "scenes",
        None,
        "folders of the scenes that --side_by_side draws; by default the first three of which all results have predictions",
    )
    DEFINE_paths("compare", None, "two results (folders or scenes.csv) with a comma: print which is better, and stop")
    run(main, flag_of={"results": "side_by_side"})
