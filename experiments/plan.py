"""What fits an accelerator, and what the paper's experiment takes there; no accelerator is needed to know.

``python -m experiments.plan extract --device=h100`` compiles the real training step for the chip (JAX's plugins do that on
any machine, see the extra ``plan``) and says which layout fits its memory, the seconds of a step by roofline, and the hours,
bytes and money of the whole extraction. ``finetune`` in the place of ``extract`` is about one LoRA on data that are there.
``paper`` compiles nothing: it says hours, bytes and money of all four attributes on a cluster (``--chips``, ``--cores``), what
is waited for, and what more attributes and models would take.

``--device=here`` asks the accelerator of this machine. ``extract`` and ``finetune`` take the same layout by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from absl import flags

from experiments.accelerators.chips import CHIPS
from experiments.presets import PRESETS
from experiments.process.command_line import InputError, nearest, refuse, run
from experiments.scenes.schema import Setting
from experiments.training.plan_flags import DEFINE_head_dtype

COMMANDS = ("extract", "finetune", "paper")
_OF_PAPER = ("cores", "core_price", "gigabyte_price", "attributes", "models", "table")
HERE = "here"


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        raise InputError(
            f"say what to plan, one of: {', '.join(COMMANDS)}; got {' '.join(arguments) or 'nothing'}"
            + (nearest(arguments[0], COMMANDS) if len(arguments) == 1 else "")
        )
    given = flags.FLAGS
    (command,) = arguments
    if command == "paper":
        refuse(("k", "preset", "steps", "head_dtype"), "on paper, which has the paper's numbers")
        _paper()
        return
    refuse(_OF_PAPER, f"on {command}")
    if given.device is None:
        raise InputError("--device: name an accelerator, or here")
    if command == "finetune":
        refuse(("k", "setting"), "on finetune, which trains one adapter on data that are there")
    from experiments.accelerators.costs import costs
    from experiments.accelerators.planning import plan
    from experiments.accelerators.present import present
    from experiments.accelerators.wording import told

    preset, setting = PRESETS[given.preset], given.setting
    chip, limit, devices = present() if given.device == HERE else (CHIPS[given.device], None, None)
    found = plan(
        given.preset,
        chip,
        limit,
        devices=devices,
        head_dtype=given.head_dtype,
        say=lambda line: print(line, flush=True),
    )
    spent = costs(
        preset,
        found.program.config,
        found.mean_seconds,
        adapters=1 if command == "finetune" else given.k or preset.rendering.datasets[setting],
        steps=given.steps or preset.training.steps,
        setting=None if command == "finetune" else setting,
        chips=given.chips,
        price=given.price,
    )
    for line in told(found, spent, given.chips):
        print(line)


def _paper() -> None:
    """What the mining of the paper's four attributes takes, or of others."""
    from experiments.accelerators.whole_experiment import Cluster, markdown, takes, told

    given = flags.FLAGS
    if given.table:
        lines = markdown()
    else:
        if given.device in (None, HERE):
            raise InputError("--device: name an accelerator that there are plans for, such as h100")
        cluster = Cluster(
            title="",
            device=given.device,
            chips=given.chips,
            cores=given.cores,
            price=given.price or 0.0,
            core_price=given.core_price,
            byte_price=given.gigabyte_price,
        )
        found = takes(cluster, attributes=given.attributes, models=given.models, setting=given.setting)
        lines = told(cluster, found)
    for line in lines:
        print(line)


if __name__ == "__main__":
    flags.DEFINE_enum("device", None, [*CHIPS, HERE], "the accelerator; here: the one of this machine")
    flags.DEFINE_enum("preset", "vggt_1b", list(PRESETS), "vggt_1b: the paper's numbers; nano: minutes on a CPU")
    flags.DEFINE_enum(
        "setting",
        "object_centric",
        list(get_args(Setting)),
        "extract: what is rendered, on which k and its time depend",
    )
    flags.DEFINE_integer("k", None, "extract: adapters (vggt_1b 5 or 10)", lower_bound=1)
    flags.DEFINE_integer("steps", None, "training steps of each adapter (vggt_1b 24,000)", lower_bound=1)
    DEFINE_head_dtype()
    flags.DEFINE_integer("chips", 1, "chips, each of which trains adapters of its own", lower_bound=1)
    flags.DEFINE_float(
        "price", None, "of one chip for an hour, in your currency; without it no sum is shown", lower_bound=0
    )
    flags.DEFINE_integer("cores", 96, "paper: cores that render, and read for the chips", lower_bound=1)
    flags.DEFINE_float("core_price", 0.0, "paper: of one core for an hour", lower_bound=0)
    flags.DEFINE_float("gigabyte_price", 0.0, "paper: of one gigabyte for a month", lower_bound=0)
    flags.DEFINE_integer("attributes", 4, "paper: attributes to mine", lower_bound=1)
    flags.DEFINE_integer("models", 1, "paper: models to mine them in", lower_bound=1)
    flags.DEFINE_boolean("table", False, "paper: the tables of the page of the documentation")
    run(main, positional=True)
