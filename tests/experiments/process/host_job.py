"""One of several processes: ``python -m tests.experiments.process.host_job COORDINATOR PROCESSES PROCESS WHAT``.

Without a coordinator the environment says where the others are.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.process import hosts
from subspace.errors import InputError


def everything(process):
    sharding = NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), PartitionSpec("all"))
    own = np.arange(4.0) + 10
    array = jax.make_array_from_callback((4,), sharding, lambda index: own[index])
    hosts.wait_for_all("beginning")
    done = []
    hosts.only_first("one", lambda: done.append("one"))
    found = hosts.after_first("two", lambda: f"by {process}")
    hosts.check_agreement("the same", "text")
    return {
        "first": hosts.is_first(),
        "done": done,
        "found": found,
        "share": hosts.shared_out(list(range(5))),
        "gathered": [part.decode() for part in hosts.gathered(b"x" * (process + 1))],
        "on_host": hosts.on_host({"split": array, "own": jnp.ones(1)})["split"].tolist(),
    }


def disagree(process):
    hosts.check_agreement("their arguments", f"text {process}")


def nothing(process):
    return {}


def first_fails(process):
    def fail():
        raise InputError("the disk is full")

    hosts.only_first("results", fail)


if __name__ == "__main__":
    coordinator, processes, process, what = sys.argv[1:]
    try:
        timeout = 60 if what != "nothing" else 10
        hosts.join(hosts.Job(coordinator, int(processes), int(process), timeout) if coordinator else None)
        print(json.dumps(globals()[what](int(process))))
    except InputError as error:
        print(json.dumps({"error": str(error)}))
