"""The small VGGT that ships with this package, trained from scratch on synthetic scenes.

First the data, then the training; both go on where they stopped when they are called again. The names of the data sets end
up in the model card::

    python -m experiments.generate --attribute=mixed --setting=wide_baseline --datasets=1 --scenes=700 --views=6 \\
        --resolution=96 --output=runs/data/wide
    python -m experiments.generate --attribute=mixed --setting=object_centric --datasets=1 --scenes=240 --views=12 \\
        --resolution=96 --output=runs/data/objects
    python -m experiments.generate --attribute=mixed --setting=micro_baseline --datasets=1 --scenes=80 --views=4 \\
        --resolution=96 --output=runs/data/micro
    python -m experiments.pretrain --output=runs/pretrain/nano \\
        --data=runs/data/wide/dataset_00,runs/data/objects/dataset_00,runs/data/micro/dataset_00

The folder that it writes has the weights, their configuration, a matcher of tokens (which ``experiments.reconstruct
--refine`` uses), a model card and the evaluation that the card's tables are made of. An interrupted run ends in the same
bits as one that was not. Several accelerators share each batch; a CPU's cores work on it as one device.

``--recipe=orbits`` goes on from nano with as many pictures again, around objects and heads, where nano does not see the turn:
matches first, with pairs from small turns to large ones. ``metrics.jsonl`` of its stages has the errors on held-out pairs,
beside those of "no turn" and of a constant depth::

    for seed in 200 201 202 203 204 205; do
      python -m experiments.generate --attribute=mixed --setting=object_centric --datasets=1 --scenes=100 --views=16 \\
          --resolution=96 --seed=$seed --output=runs/data/orbits_$seed
    done
    python -m experiments.prepare --task=heads --split=train --output=runs/data/heads
    python -m experiments.generate --attribute=mixed --setting=micro_baseline --datasets=1 --scenes=80 --views=4 \\
        --resolution=96 --output=runs/data/micro
    python -m experiments.generate --attribute=mixed --setting=wide_baseline --datasets=1 --scenes=60 --views=6 \\
        --resolution=96 --output=runs/data/wide
    python -m experiments.pretrain --recipe=orbits --data=runs/data/orbits_200/dataset_00,… --output=runs/pretrain/nano_2

A model that has seen no heads has no prior of faces which a printed face could deceive.

What an ingredient of the recipe brings is seen by shorter runs without it, which the card then compares::

    python -m experiments.pretrain --length=0.1 --without=matching --output=runs/pretrain/matching --data=...
    python -m experiments.pretrain --output=runs/pretrain/nano --ablations=runs/pretrain/matching,...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.pretraining.settings import INGREDIENTS, RecipeName, Settings
from experiments.process.command_line import (
    DEFINE_path,
    DEFINE_path_or_name,
    DEFINE_paths,
    InputError,
    refuse,
    run,
    run_if_new,
)
from experiments.storage.store_flags import DEFINE_store
from experiments.training.log_flag import DEFINE_log, trackers_of

_OF_TRAINING = (
    "data",
    "recipe",
    "start",
    "also_evaluate",
    "length",
    "seed",
    "without",
    "run",
    "store",
    "log",
    "overwrite",
)


def _compare(output: Path | None, ablations: Sequence[Path]) -> None:
    from experiments.pretraining.card import CARD, compare

    if output is None:
        raise InputError("--output: name the folder of the model whose card shows the other runs")
    compare(output, ablations)
    print(f"wrote {output / CARD} with {len(ablations)} runs to compare")


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.ablations:
        refuse(_OF_TRAINING, "with --ablations, which trains nothing")
        _compare(given.output, given.ablations)
        return
    settings = Settings(
        data=tuple(given.data or ()),
        recipe=given.recipe,
        start=given.start,
        length=given.length,
        seed=given.seed,
        without=given.without,
        also_evaluate=tuple(given.also_evaluate or ()),
        output=given.output,
        run=given.run,
        store=given.store,
        log=trackers_of(),
        overwrite=given.overwrite,
    )

    from experiments.process.compilation_cache import keep_compiled
    from experiments.process.reporting import console

    keep_compiled()
    from experiments.pretraining.card import CARD
    from experiments.pretraining.pipeline import ready

    found = run_if_new(ready(settings, console()))
    summary = "; ".join(
        f"{name}: AbsRel {metrics['model']['abs_rel']:.3f} (mean depth map {metrics['mean_depth']['abs_rel']:.3f}), "
        f"rotation {metrics['model']['rotation']:.1f}° (no turn {metrics['mean_depth']['rotation']:.1f}°)"
        for name, metrics in found.evaluations.items()
    )
    print(
        f"wrote {found.size / 1e6:.1f} MB of weights to {found.folder}; held-out scenes: {summary}; "
        f"see {found.folder / CARD}"
    )


if __name__ == "__main__":
    from experiments.process.large_pages import restart_with_large_pages

    restart_with_large_pages()

    DEFINE_paths("data", None, "folders of data sets of experiments.generate, separated by commas")
    DEFINE_path("output", None, "folder to make, with weights and model card; by default STORE/pretrain/nano-HASH")
    DEFINE_path(
        "run",
        None,
        "folder of checkpoints and metrics, from which an interrupted run goes on; by default STORE/pretraining/nano-HASH",
    )
    DEFINE_store("folder of the results of all commands")
    flags.DEFINE_enum(
        "recipe",
        "nano",
        list(get_args(RecipeName)),
        "nano: from scratch; orbits: on from nano, around objects and heads",
    )
    DEFINE_path_or_name("start", None, "the model that --recipe=orbits begins with (nano)")
    flags.DEFINE_float("length", 1.0, "multiplies the steps of every stage", lower_bound=0, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    flags.DEFINE_enum("without", None, list(INGREDIENTS), "leave one ingredient out, for an ablation")
    DEFINE_paths("ablations", None, "do not train: show these other runs' outputs in the card of --output")
    DEFINE_paths("also_evaluate", None, "data sets that the card shows the errors on, without training on them")
    DEFINE_log()
    flags.DEFINE_boolean(
        "overwrite", False, "make the results again, also in place of results of other settings in the output folder"
    )
    run(main)
