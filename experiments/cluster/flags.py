"""Flags of commands whose tasks can run on a cluster: ``--executor``, ``--retries``."""

from __future__ import annotations

from typing import Any

from absl import flags

from experiments.cluster.settings import DEFAULT_RETRIES, Ray
from subspace.errors import InputError

flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help shows them

_LOCAL, _RAY = "local", "ray"


def DEFINE_executor(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "executor",
        _LOCAL,
        "where tasks run: local, this machine; ray:HOST:PORT, the nodes of that Ray cluster, which share the file system of "
        "the folders, or a store by its address; ray, the cluster of RAY_ADDRESS, or else one of this machine",
        flag_values,
    )
    flags.DEFINE_integer(
        "retries",
        DEFAULT_RETRIES,
        "times that a task whose node is lost begins again elsewhere, with --executor=ray",
        lower_bound=0,
        flag_values=flag_values,
    )


def executor_of(flag_values: flags.FlagValues = flags.FLAGS) -> Ray | None:
    """What ``--executor`` asks for; None for this machine. Raises InputError for anything else."""
    text: Any = flag_values["executor"].value
    retries: Any = flag_values["retries"].value
    kind, _, address = text.partition(":")
    if text == _LOCAL:
        return None
    if kind != _RAY or (text != _RAY and not address):
        raise InputError(f"executor must be local, ray or ray:HOST:PORT, got {text!r}", argument="executor")
    return Ray(address or None, retries)
