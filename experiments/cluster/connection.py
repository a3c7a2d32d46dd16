"""Meeting a Ray cluster: in seconds, or with one line that says why not."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from experiments.cluster import versions
from experiments.cluster.settings import Ray, host_and_port
from experiments.process.cores import available_cores
from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError

_PATIENCE_S = 5.0
_NODE_PATIENCE_S = 120.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a client of gRPC begins with: the preface of HTTP/2 and empty settings."""
_SETTINGS_FRAME = 4
_TOKEN = "a cluster that asks for a token needs its RAY_AUTH_MODE and RAY_AUTH_TOKEN here, too"
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is sent to Ray's makers, and Ray warns of nothing that concerns its makers alone."""


def connect(cluster: Ray, reporter: Reporter = SILENT) -> None:
    """Make this process a driver of the cluster, and see that every node runs what this process runs.

    A process has one cluster: one that is connected stays so, until it ends.

    Raises InputError if Ray is missing, nothing answers, or a node has another version of something.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "Ray is missing: pip install 'attribute-subspaces[ray]' or pip install ray", argument="executor"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _check_answer(address)
        _check_token(address)
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": len(available_cores()), "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():  # programs are started, nothing else is forked
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # such as another version of Ray there; where it starts too slowly, of no narrower kind
        raise InputError(
            f"Ray at {address or 'this machine'}: {' '.join(str(error).split())}", argument="executor"
        ) from None
    except SystemExit:  # with which Ray's library ends a process that waits in vain
        raise InputError(f"Ray at {address} did not answer; {_TOKEN}", argument="executor") from None
    finally:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, before)  # Ray has put its own in its place
    _silence()
    _check_versions()
    resources = ray.cluster_resources()
    reporter.info(
        f"Ray: {len(alive_nodes())} node(s), {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
        + (f" at {address}" if address else ", all of this machine")
    )


def _silence() -> None:
    """Ray prints the log of a node that is lost to stdout, where a command prints its results; a reporter tells of it."""
    import ray._private.worker as worker

    worker.print_to_stdstream = lambda *_, **__: None


def alive_nodes() -> list[Mapping[str, Any]]:
    """Nodes as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def on_node(remote: Any, node: Mapping[str, Any]) -> Any:
    """A remote function that runs on one node, beside whatever runs there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return remote.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)


def ask_all(remote: Any, nodes: Iterable[Mapping[str, Any]], *arguments: object) -> list[tuple[str, Any]]:
    """What a remote function returns on each node, with the node's name; nodes that are lost meanwhile are left out.

    Raises InputError for a node that does not answer or if none is left, and what the function raises.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    asked = [(str(node["NodeManagerHostname"]), on_node(remote, node).remote(*arguments)) for node in nodes]
    found = []
    for host, answer in asked:
        try:
            found.append((host, ray.get(answer, timeout=_NODE_PATIENCE_S)))
        except GetTimeoutError:
            raise InputError(f"{host} has not answered within {_NODE_PATIENCE_S:.0f} s", argument="executor") from None
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, BaseException) else error) from None
        except RayError:  # the node is no more
            continue
    if not found:
        raise InputError("all nodes of the Ray cluster are lost", argument="executor")
    return found


def _check_answer(address: str) -> None:
    """InputError unless something answers that speaks as Ray does, which itself would wait for minutes."""
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE_S) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.sendall(_PREFACE)
            frame = connection.recv(9)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"no Ray cluster answers at {address} ({reason}): is its head running there, and may this host "
            "connect to its port?",
            argument="executor",
        ) from None
    if len(frame) < 4 or frame[3] != _SETTINGS_FRAME:
        raise InputError(f"what answers at {address} is no Ray cluster", argument="executor")


def _check_token(address: str) -> None:
    """InputError if the cluster wants another token, with which Ray itself would try for half a minute."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError, RayError

    try:
        with _stderr_shut():
            raylet: Any = _raylet  # made by Cython, without types
            raylet.GcsClient(address=address)
    except AuthenticationError:
        raise InputError(f"Ray at {address} refuses this process; {_TOKEN}", argument="executor") from None
    except (RayError, RuntimeError, ValueError):  # of which ray.init says more
        return


@contextmanager
def _stderr_shut() -> Iterator[None]:
    """Ray's C++ prints there what it raises as well."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_versions() -> None:
    """InputError where a node runs something else than this process."""
    import ray

    def ask() -> Mapping[str, str]:  # goes to the node as code, as the project may be missing there
        try:
            from experiments.cluster.versions import here
        except ImportError:
            return {}
        return here()

    expected = versions.here()
    for host, found in ask_all(ray.remote(ask), alive_nodes()):
        if (problem := versions.difference(expected, found, host)) is not None:
            raise InputError(f"{problem}; all nodes need the same", argument="executor")
