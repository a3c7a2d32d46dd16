"""The flag of every command that trains: where metrics go."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments.training.trackers import TrackerName, check_installed
from subspace.errors import InputError

flags.disclaim_key_flags()  # it belongs to the command that asks for it, whose --help shows it


def DEFINE_log(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """``--log``: a list of :data:`experiments.training.trackers.TrackerName`, whose packages must be installed."""
    flags.DEFINE(
        _TrackersParser(),
        "log",
        None,
        "where metrics go besides metrics.jsonl: tensorboard (event files beside it; tensorboard --logdir=runs shows them), "
        "wandb (Weights & Biases; WANDB_MODE=offline keeps them on this machine), or both with a comma",
        flag_values,
        flags.CsvListSerializer(","),
    )


def trackers_of(flag_values: flags.FlagValues = flags.FLAGS) -> tuple[TrackerName, ...]:
    """What ``--log`` asks for, as :class:`experiments.training.loop.LoopSettings` takes it."""
    return tuple(flag_values["log"].value or ())


class _TrackersParser(flags.ListParser):
    syntactic_help = "tensorboard, wandb, or both with a comma"

    def parse(self, argument: str | Sequence[str]) -> list[str]:
        names = super().parse(argument)  # pyright: ignore[reportArgumentType]
        try:
            check_installed(names)
        except InputError as error:
            raise ValueError(str(error)) from None
        return names
