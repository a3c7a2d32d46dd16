"""Flags of commands whose tasks can run on a cluster: ``--executor``, ``--retries``."""

from __future__ import annotations

from typing import Any

from absl import flags

from experiments.cluster.settings import DEFAULT_RETRIES, Ray
from subspace.errors import InputError

flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help shows them

_LOCAL, _RAY = "local", "ray"
_OF_A_JOB = ("coordinator", "processes", "process")
"""Flags of :mod:`experiments.process.host_flags`."""


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
    of_a_job: dict[str, Any] = {name: flag_values[name].value for name in _OF_A_JOB if name in flag_values}
    for name in ("coordinator", "process"):
        if of_a_job.get(name) is not None:
            raise InputError(f"{name} has no effect with executor={kind}: Ray places the processes", argument=name)
    return Ray(address or None, retries, of_a_job.get("processes") or 1)
