"""Flags of commands that run on several devices and hosts: ``--mesh``, ``--coordinator``, ``--processes``, ``--process``."""

from __future__ import annotations

from typing import Any

from absl import flags

from experiments.process.hosts import join
from experiments.process.mesh_sizes import MeshSizes
from experiments.process.rendezvous import Job
from subspace.errors import InputError

flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help shows them

_OF_A_JOB = ("coordinator", "processes", "process")


def DEFINE_mesh_and_hosts(axes: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags.

    Args:
        axes: what the axes of the mesh share, for ``--help``.
        flag_values: where.
    """
    flags.DEFINE_string(
        "mesh", None, f"devices by what they share, such as adapter:2,data:4,model:1: {axes}", flag_values
    )
    flags.DEFINE_string(
        "coordinator",
        None,
        "HOST:PORT of the first of several processes that do this together, with the same arguments and files; by default "
        "what Slurm, Open MPI or GKE say",
        flag_values,
    )
    flags.DEFINE_integer(
        "processes",
        None,
        "number of these processes; of commands that have --executor, also of the nodes of a Ray cluster that do this together",
        lower_bound=1,
        flag_values=flag_values,
    )
    flags.DEFINE_integer("process", None, "which of them this is, from 0", lower_bound=0, flag_values=flag_values)
    flags.DEFINE_integer(
        "join_timeout", 300, "seconds to wait for the other processes", lower_bound=1, flag_values=flag_values
    )


def mesh_of(flag_values: flags.FlagValues = flags.FLAGS) -> MeshSizes | None:
    """What ``--mesh`` asks for. Raises InputError for what is no mesh."""
    text = flag_values["mesh"].value
    return None if text is None else MeshSizes.of(text)


def join_processes(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Meet the other processes of the job, if there are any.

    Raises InputError for flags that lack others, and if the processes do not come together.
    """
    given: dict[str, Any] = {name: flag_values[name].value for name in _OF_A_JOB}
    arguments = {name: str(value) for name, value in flag_values.flag_values_dict().items() if name != "process"}
    told = str(sorted(arguments.items()))
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        join(None, told)
    elif missing:
        raise InputError(
            f"coordinator, processes and process belong together; not given: {', '.join(missing)}",
            argument=missing[0],
        )
    else:
        timeout: Any = flag_values["join_timeout"].value
        join(Job(given["coordinator"], given["processes"], given["process"], timeout), told)
