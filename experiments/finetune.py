"""Fine-tune a VGGT: the whole of it, a LoRA, PiSSA or AdaLoRA, or an M inside the subspaces of attributes.

``python -m experiments.finetune --method=subspace --subspaces=runs/extract/texture_object_centric_nano,… --data=DATASET,…``
trains dW = Ā M B̄ᵀ on data sets of ``experiments.generate`` and writes ``adapter.safetensors`` (``--method=full``: a folder
``model``), ``metrics.jsonl`` and ``summary.json`` with the losses on held-out scenes before and after. All methods see the
same batches under the same schedule; they differ in what is trained, whose exact number is printed first. Adapters merge,
go on training and become PEFT's as any other (``python -m weights_convert --to=peft``).

Interrupted, it goes on where it stopped; asked for the same thing again, it finds what it did (``--store``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.finetuning.choice import METHODS, Allocation, Choice, choose
from experiments.process.compilation_cache import keep_compiled
from weights_convert.command_line import run


def finetune(choice: Choice, output: Path) -> None:
    """Run the command.

    Raises ValueError and OSError for everything that is wrong with settings, data, weights, subspaces or the disk.
    """
    from experiments.finetuning.data import read_data
    from experiments.finetuning.results import OUTPUTS, verdict, write_results
    from experiments.finetuning.run import tune
    from experiments.models import load_base
    from experiments.presets import PRESETS
    from experiments.storage.output_folder import check_free

    check_free(output, True, OUTPUTS)
    start = time.perf_counter()
    data = read_data(choice.data, choice.preset.held_out)
    print(f"base model: {choice.weights}; {len(data.training)} scenes", file=sys.stderr, flush=True)
    base = load_base(choice.weights, PRESETS[choice.preset_name].rendering.resolution, choice.preset)
    tuned = tune(choice, base, data, lambda line: print(line, flush=True))
    facts = {
        **{name: _plain(value) for name, value in choice.settings.items()},
        **({"subspaces": ", ".join(map(str, choice.subspaces))} if choice.subspaces else {}),
        "preset": choice.preset_name,
        "base model": base.label,
        "run": str(tuned.folder),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    write_results(output, tuned, data, facts)
    print(verdict(tuned))
    print(f"wrote {output / tuned.result.name} in {time.perf_counter() - start:.0f} s; see {output}/summary.json")


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    choice = choose(**{name: given[name] for name in signature(choose).parameters})
    keep_compiled()
    finetune(choice, Path(os.path.abspath(given["output"] or choice.default_output)))


if __name__ == "__main__":
    from experiments.presets import PRESETS

    flags.DEFINE_enum(
        "method", "subspace", list(METHODS), "what is trained; psv: M between the weights' singular vectors"
    )
    flags.DEFINE_list("data", [], "folders of data sets of experiments.generate, with commas")
    flags.DEFINE_list(
        "subspaces", None, "subspace: folders of experiments.extract, one for each attribute, with commas"
    )
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: minutes on a CPU; vggt_1b: the paper's numbers")
    flags.DEFINE_string(
        "weights",
        None,
        "the base model, as for experiments.extract; by default nano, or for vggt_1b hf:facebook/VGGT-1B",
    )
    flags.DEFINE_integer(
        "rank",
        None,
        "r of lora, pissa, adalora (at first) and of the plain LoRA beside M (nano 8, vggt_1b 16)",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "target_rank", None, "adalora: mean rank at the end; by default two thirds of --rank", lower_bound=1
    )
    flags.DEFINE_integer(
        "dim",
        None,
        "subspace: d, directions that an attribute brings to a layer on average, by default all mined; psv: D, side of M, by "
        "default four times d' of the preset",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "allocation",
        None,
        list(get_args(Allocation)),
        "subspace: the same d in every layer (the default), by effective rank as the paper prints it, or so that d is spent",
    )
    flags.DEFINE_list(
        "matrices", None, "patterns such as aggregator.*: which matrices the method changes; by default all"
    )
    flags.DEFINE_list(
        "plain",
        None,
        "subspace, psv: patterns of the matrices that get a plain LoRA beside M, '' for none; by default camera_head.* and "
        "depth_head.*",
    )
    flags.DEFINE_integer("steps", None, "training steps (nano 100, vggt_1b 24,000)", lower_bound=1)
    flags.DEFINE_float("peak_rate", None, "learning rate after the warm-up (nano 1e-3, vggt_1b 1e-5)", lower_bound=0)
    flags.DEFINE_integer(
        "held_out", None, "scenes at the end of each data set to validate on (nano 4, vggt_1b 8)", lower_bound=0
    )
    flags.DEFINE_integer("seed", 0, "of what is drawn and of the order of the data", lower_bound=0)
    flags.DEFINE_string("store", "runs", "folder of finished and interrupted work, shared by commands")
    flags.DEFINE_string("output", None, "folder of the results; by default below the store, replaced if it is there")
    run(main)
