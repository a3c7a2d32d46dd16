"""The flags of commands that train: how large a step is, and how it is laid out over memory and devices."""

from __future__ import annotations

from absl import flags

from experiments.process.host_flags import DEFINE_mesh_and_hosts, mesh_of
from experiments.training.step_plan import StepPlan

flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help shows them

OF_STEPS = ("images", "accumulate", "mesh")
"""Flags of every command that trains."""


def DEFINE_step(axes: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define ``--images``, ``--accumulate`` and the flags of :mod:`experiments.process.host_flags`.

    Args:
        axes: what the axes of the mesh share, for ``--help``.
        flag_values: where.
    """
    flags.DEFINE_integer(
        "images", None, "pictures in a step of one adapter (nano 8, vggt_1b 32)", lower_bound=1, flag_values=flag_values
    )
    flags.DEFINE_integer(
        "accumulate",
        None,
        "sequences that a device takes through the model at a time, where its memory does not hold all of a step; the "
        "results are the same, a step takes about a quarter longer; by default all",
        lower_bound=1,
        flag_values=flag_values,
    )
    DEFINE_mesh_and_hosts(axes, flag_values)


def DEFINE_head_dtype(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define ``--head_dtype``."""
    flags.DEFINE_enum(
        "head_dtype",
        None,
        ["float32", "bfloat16"],
        "type of the products and convolutions in camera and depth head; bfloat16 is quicker on accelerators and rounds more, "
        "see docs/accelerators.md; by default float32",
        flag_values=flag_values,
    )


def DEFINE_adapters_at_once(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define ``--adapters_at_once``."""
    flags.DEFINE_integer(
        "adapters_at_once",
        None,
        "adapters that one device trains at a time, the others wait; by default all on a CPU, and on an accelerator as many "
        "as have no more pixels in a step than 32 pictures of 518²",
        lower_bound=1,
        flag_values=flag_values,
    )


def plan_of(flag_values: flags.FlagValues = flags.FLAGS) -> StepPlan:
    """What these flags ask for."""
    at_once = flag_values["adapters_at_once"].value if "adapters_at_once" in flag_values else None
    return StepPlan(adapters_at_once=at_once, accumulate=flag_values["accumulate"].value, mesh=mesh_of(flag_values))
