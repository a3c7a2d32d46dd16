"""How fast this machine runs the project, with the comparison run side by side.

``python -m experiments.benchmark subspace`` mines all 192 block matrices of a VGGT-1B at once (24 frame and 24 global
blocks × qkv, proj, fc1, fc2; 10 adapters of rank 16, d' = 16), against dense SVD-based IRLS in NumPy and against the limit
that reading and factoring the adapters once sets. About two minutes and 2 GB on two cores.

``python -m experiments.benchmark model`` runs VGGT-1B with random weights (aggregator, camera and depth head) on one and two
images of 280² and 518² pixels, and one of its transformer blocks beside a PyTorch block of the same sizes (with the extra
``torch``). Under three minutes and 5.4 GiB on two AVX-512 cores.

``python -m experiments.benchmark memory`` compiles the LoRA training step of VGGT-1B for every accelerator that is described,
none of which need be there (the extra ``plan``): planned memory, operations, bytes, seconds by roofline, seconds to compile.
About a minute a program; ``--chips`` names some, ``--write`` keeps the table in the documentation.

``python -m experiments.benchmark accelerator --seconds=540`` tells in one command what a few minutes on a chip can, the most
important first: ceilings, parity with a CPU, steps of VGGT-1B by part beside their plan, autotuning on and off, input, a
minute of real training. What was found is kept in ``--record`` when time is up.

``python -m experiments.benchmark training`` runs LoRA training steps: of nano, several adapters at once and one, with and
without cached encoder tokens, and of VGGT-1B with random weights on two images of 224².

``python -m experiments.benchmark input`` says what pictures cost on their way from the disk to a training step, at 96² and
518²: decoding, arrays, transfer, points and normalisation on the device, and batches as a whole, beside a step's images per
second; ``--data`` reads a data set of yours. Two minutes on two cores, ``--nostep`` half a minute.

``python -m experiments.benchmark finetuning`` trains an M inside bases of dimension D beside a LoRA of rank D: nano's steps,
and VGGT-1B's on 8 images of 518² pixels: on a CPU what XLA plans for them, where nothing is allocated. Some minutes on two
cores.

``python -m experiments.benchmark analysis`` analyses the subspaces of four attributes of VGGT-1B's size (synthetic factors),
report included: without adapters, then with ten of rank 16 for each attribute, from which 76 further subspaces of all 192
matrices are mined. Some minutes, 6 GB of memory and 3 GB of disk on two cores; ``--noadapters`` leaves the latter out.

``python -m experiments.benchmark adapters`` mines collections of LoRAs from their files to the report: 200 of six 64² matrices,
10 of 224 matrices of 1,024², 1,000 of 24 such, and 10 of the size of Llama 7B, with vlora-dev beside it where that is
installed. Many minutes and 3 GB of disk; ``--nolarge`` leaves the last two out.

``python -m experiments.benchmark evaluation`` computes the metrics of a scene of 8 views of 518², as ``experiments.evaluate``
does by default and with every point looked up. A few minutes and 2 GB, nearly all for the latter.

``python -m experiments.benchmark rendering`` renders scenes of both settings at 112², 224² and 518² on one core, and on all
of them. About a minute.

``python -m experiments.benchmark cluster`` renders the same scenes with and without Ray on this machine, in turns, and
schedules 100,000 scenes that nobody renders: scenes a second, memory of the command and of Ray's head. Some ten minutes;
``--rounds`` and ``--jobs`` make it shorter, and 0 leaves either part out.

``python -m experiments.benchmark first_command`` does for real what README begins with, in an empty folder and with empty
caches: installation, ``extract --attribute=geometry``, and with ``--second=texture`` another attribute, for which what was
compiled is found again. It prints what each stage took beside version 0.2.0, whose figures are of a quiet machine with two
cores: look at the CPU-seconds on a busy one. As long as the commands themselves, and 5 GB of disk meanwhile; ``--noinstall``
takes this Python as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from absl import flags

from experiments.accelerators.chips import CHIPS
from experiments.extraction.settings import ATTRIBUTES
from experiments.process.command_line import DEFINE_path, DEFINE_path_or_name, InputError, nearest, refuse, run

BENCHMARKS = (
    "subspace", "model", "memory", "accelerator", "training", "input", "finetuning", "adapters", "analysis", "evaluation",
    "rendering", "cluster", "first_command",
)  # fmt: skip
_FLAGS = {
    "subspace": ["iterations"],
    "adapters": ["large"],
    "input": ["data", "step"],
    "memory": ["chips", "write"],
    "accelerator": ["seconds", "record"],
    "finetuning": ["full_size"],
    "analysis": ["adapters"],
    "cluster": ["rounds", "jobs"],
    "first_command": ["second", "install"],
}
"""Flags that one benchmark alone has."""
_BLENDER = ("rendering", "cluster")
"""Those that render."""


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in BENCHMARKS:
        raise InputError(
            f"say what to measure, one of: {', '.join(BENCHMARKS)}; got {' '.join(arguments) or 'nothing'}"
            + (nearest(arguments[0], BENCHMARKS) if len(arguments) == 1 else "")
        )
    of_others = [flag for name, own in _FLAGS.items() if name != arguments[0] for flag in own]
    refuse(of_others + ["blender"] * (arguments[0] not in _BLENDER), f"on {arguments[0]}")
    # Most cases run in processes of their own, for which this one would leave a quarter of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # JAX starts only once the arguments are right
    from experiments.benchmarks import (
        accelerator_plans,
        accelerator_session,
        analysis,
        cluster,
        evaluation,
        finetuning,
        first_command,
        input_speed,
        lora_collections,
        model_forward,
        rendering,
        subspace_mining,
        training,
    )

    reports: dict[str, Callable[[], Iterable[str]]] = {
        "subspace": lambda: subspace_mining.report(flags.FLAGS.iterations),
        "model": model_forward.report,
        "accelerator": lambda: accelerator_session.report(flags.FLAGS.seconds, flags.FLAGS.record),
        "memory": lambda: accelerator_plans.report(flags.FLAGS.chips, flags.FLAGS.write),
        "training": training.report,
        "input": lambda: input_speed.report(flags.FLAGS.data, flags.FLAGS.step),
        "finetuning": lambda: finetuning.report(flags.FLAGS.full_size),
        "adapters": lambda: lora_collections.report(flags.FLAGS.large),
        "analysis": lambda: analysis.report(flags.FLAGS.adapters),
        "evaluation": evaluation.report,
        "rendering": lambda: rendering.report(flags.FLAGS.blender),
        "cluster": lambda: cluster.report(cluster.Sizes(flags.FLAGS.rounds, flags.FLAGS.jobs), flags.FLAGS.blender),
        "first_command": lambda: first_command.report(flags.FLAGS.second, flags.FLAGS.install),
    }
    for line in reports[arguments[0]]():
        print(line, flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer(
        "iterations", 20, "subspace: IRLS iterations that every matrix is made to spend", lower_bound=1
    )
    DEFINE_path("data", None, "input: the folder of a data set, whose views are read; by default some are drawn")
    flags.DEFINE_boolean("step", True, "input: also take training steps")
    flags.DEFINE_multi_enum("chips", list(CHIPS), list(CHIPS), "memory: which chips; once for each")
    flags.DEFINE_boolean("write", False, "memory: keep the table in the package and in its page of the documentation")
    flags.DEFINE_float("seconds", 540.0, "accelerator: how long it may take", lower_bound=30)
    DEFINE_path("record", "accelerator.jsonl", "accelerator: file of lines of JSON, to which what is found is added")
    flags.DEFINE_boolean("full_size", True, "finetuning: also the steps of VGGT-1B")
    flags.DEFINE_boolean("large", True, "adapters: also the collections that take minutes and gigabytes")
    flags.DEFINE_boolean("adapters", True, "analysis: also with ten adapters of each attribute")
    DEFINE_path_or_name(
        "blender", None, "rendering, cluster: an installed Blender, or a Python with bpy; by default uv makes one"
    )
    flags.DEFINE_integer("rounds", 6, "cluster: rounds of rendering with and without Ray", lower_bound=0)
    flags.DEFINE_integer("jobs", 100_000, "cluster: scenes that are scheduled, and not rendered", lower_bound=0)
    flags.DEFINE_enum("second", None, list(ATTRIBUTES), "first_command: another attribute after it")
    flags.DEFINE_boolean("install", True, "first_command: also the installation")
    run(main, positional=True)
