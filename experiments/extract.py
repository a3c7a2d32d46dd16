"""The subspace of one attribute: data sets in which it varies, a LoRA adapter on each, and what the adapters share.

``python -m experiments.extract --attribute=geometry`` renders k data sets, trains k adapters of the base model at once,
mines their shared subspace in every adapted matrix (IRLS, Eq. 1–3 of the paper) and writes ``subspace.safetensors``, the
adapters, ``metrics.jsonl``, ``summary.json``, figures and ``report.html``. With ``--adapters=A,B,…`` it takes finished
adapters instead, this project's or PEFT's, of any model. ``--init=shared`` and ``--targets=shuffled`` make controls for
``experiments.analyze``: what remains under them is not the attribute's. ``--updates=full`` and ``--updates=gradient`` mine what
full fine-tuning changes, or one gradient, in which nothing is drawn at random.

Results lie in ``STORE/extract/LABEL-HASH``: every setting that changes them gives another folder, and ``latest`` points to
the newest one. Interrupted, the command goes on where it stopped; a changed setting redoes only what depends on it, and
other commands find the same data sets and adapters again (``--store``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.extraction.flags import define_flags
from experiments.extraction.settings import ATTRIBUTES, Settings, TrainedUpdates
from experiments.mining.origin import Init, Targets
from experiments.process.command_line import (
    DEFINE_path,
    DEFINE_path_or_name,
    DEFINE_paths_or_names,
    refuse,
    run,
    run_if_new,
)
from experiments.process.host_flags import join_processes
from experiments.process.hosts import first_console
from experiments.scenes.schema import MOST_SCENES
from experiments.training.log_flag import DEFINE_log, trackers_of
from experiments.training.plan_flags import OF_STEPS, DEFINE_adapters_at_once, DEFINE_head_dtype, DEFINE_step, plan_of

_SETTINGS = (
    "attribute", "setting", "weights", "k", "rank", "dim", "steps", "images", "exponent", "init", "targets", "seed", "store",
    "camera_weight", "glass", "input_rate", "updates", "outputs", "snapshots", "peak_rate", "workers", "blender", "head_dtype",
)  # fmt: skip
_OF_TRAINING = (
    "setting", "k", "rank", "steps", "init", "targets", "seed", "camera_weight", "glass", "input_rate", "updates", "outputs",
    "snapshots", "peak_rate", "workers", "blender", "log", "adapters_at_once", "head_dtype", "executor", "retries", *OF_STEPS,
)  # fmt: skip


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    adapters = tuple(given["adapters"] or ())
    if adapters:
        refuse(_OF_TRAINING, "with --adapters, which are trained already")
        from weights_convert.lora_places import find_loras

        adapters = tuple(find_loras(list(map(str, adapters))).values())
    output = None if given["output"] is None else Path(os.path.abspath(given["output"]))
    settings = Settings.of(
        given["preset"],
        adapters=adapters,
        log=trackers_of(),
        plan=plan_of(),
        executor=executor_of(),
        output=output,
        overwrite=given["overwrite"],
        **{name: given[name] for name in _SETTINGS},
    )

    if settings.executor is None:  # on a cluster nodes join each other
        join_processes()
    from experiments.process.compilation_cache import keep_compiled

    keep_compiled()
    from experiments.extraction.pipeline import ready
    from experiments.mining.report import print_table, verdict

    found = run_if_new(ready(settings, first_console()))
    print(print_table(found.matrices))
    if found.before is not None and found.after is not None:
        print(found.learned)
    print(verdict(found.matrices))
    print(f"wrote {found.folder} in {found.seconds:.0f} s; open {found.folder}/report.html")


if __name__ == "__main__":
    flags.DEFINE_enum("attribute", "geometry", list(ATTRIBUTES), "what varies within the data sets")
    define_flags()
    flags.DEFINE_integer(
        "k", None, "data sets and adapters (nano 5, vggt_1b 5 or 10)", lower_bound=2, upper_bound=MOST_SCENES
    )
    flags.DEFINE_integer("rank", None, "r of the adapters (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer("dim", None, "d' of the shared subspace, at most k·r (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer(
        "steps", None, "training steps of each adapter (nano 100, vggt_1b 24,000; of gradients 100)", lower_bound=1
    )
    flags.DEFINE_float("exponent", 1.0, "of Eq. 1, in (0, 2]: 1 is robust to outliers, 2 is the plain mean")
    flags.DEFINE_alias("alpha", "exponent")
    flags.DEFINE_enum(
        "init",
        "independent",
        list(get_args(Init)),
        "the adapters' random input factors: drawn for each, or one draw for all, which by itself makes them share one side",
    )
    flags.DEFINE_enum(
        "targets",
        "true",
        list(get_args(Targets)),
        "what adapters are trained towards: the truth of the scene in the images, or, as a control, that of a scene of "
        "another data set",
    )
    DEFINE_paths_or_names(
        "adapters",
        None,
        "finished adapters instead of training, with commas: PEFT folders, single files, folders of such, patterns, lists "
        "(.txt), hf:owner/name; different collections need `adapters mine`",
    )
    flags.DEFINE_integer("seed", 0, "of data, factors and batches", lower_bound=0)
    flags.DEFINE_boolean(
        "glass", None, "let some objects be transparent (nano yes; vggt_1b no, as the paper mines without)"
    )
    flags.DEFINE_float("camera_weight", None, "weight of the camera loss beside depth (5); 0 for depth alone")
    flags.DEFINE_enum(
        "updates",
        "lora",
        list(get_args(TrainedUpdates)),
        "what is mined: trained LoRAs; what full fine-tuning changed in the same matrices; or the mean gradient of the base "
        "model over --steps batches, for which nothing is trained. Of the last two the best --rank is kept (4096: all)",
    )
    flags.DEFINE_float("peak_rate", None, "learning rate after the warm-up (nano 1e-3, vggt_1b 1e-5)", lower_bound=0)
    flags.DEFINE_float(
        "input_rate",
        None,
        "learning rate of the input factors as a multiple of the others' (1): with more they leave their random draw sooner",
    )
    DEFINE_path(
        "outputs",
        None,
        "second of two passes: folder of a first extraction, whose mined outputs are given while the inputs are trained from "
        "zero, so that nothing is drawn",
    )
    flags.DEFINE_boolean(
        "snapshots", False, "keep the adapters of ten steps in the course of training, for the curves of analyze"
    )
    DEFINE_path(
        "output", None, "folder of the results; by default STORE/extract/LABEL-HASH, another for other settings"
    )
    flags.DEFINE_boolean(
        "overwrite", False, "make the results again, also in place of results of other settings in the output folder"
    )
    DEFINE_adapters_at_once()
    DEFINE_step("adapters, the sequences of a step, the base model's large matrices")
    DEFINE_head_dtype()
    DEFINE_log()
    DEFINE_executor()
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    DEFINE_path_or_name("blender", None, "an installed Blender, or a Python with bpy; by default uv makes one")
    run(main)
