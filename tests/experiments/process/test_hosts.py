"""Processes of one job; those that start several are slow."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.process import hosts
from experiments.process.rendezvous import Job
from subspace.errors import InputError
from tests.experiments.commands import call

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--mesh=adaptor:2"], "there is no axis 'adaptor'; axes are adapter, data, model (see --mesh)"),
        (["--mesh=adapter:2"], "but there are 1 devices (see --mesh)"),
        (["--process=1"], "not given: coordinator, processes (see --coordinator)"),
        (["--coordinator=here", "--processes=2", "--process=1"], "coordinator must be HOST:PORT"),
        (
            ["--coordinator=localhost:1", "--processes=2", "--process=1", "--join_timeout=1"],
            "has not answered within 1 s",
        ),
        (["--images=7"], "images must be a multiple of 4, the views of a sequence, got 7 (see --images)"),
        (["--adapters_at_once=0"], "--adapters_at_once must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(arguments, named, tmp_path):
    done = call("experiments.extract", *arguments, f"--store={tmp_path}")
    assert done.status == 2 and named in done.stderr.splitlines()[-1], done.stderr


def test_a_process_alone_does_everything():
    hosts.join(None)
    hosts.join(Job("localhost:1", 1, 0))
    done = []
    hosts.only_first("x", lambda: done.append(1))
    assert hosts.is_first() and not hosts.is_joined() and done == [1]
    assert hosts.after_first("x", lambda: 5) == 5 and hosts.shared_out([1, 2]) == [1, 2]
    assert hosts.gathered(b"ab") == [b"ab"]
    hosts.wait_for_all("x")
    hosts.check_agreement("x", "y")


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def by_slurm(job, process):
    """The environment of a task that ``srun --ntasks=2`` starts."""
    return {
        "SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(process), "SLURM_LOCALID": str(process),
    }  # fmt: skip


def by_open_mpi(job, process):
    """The environment of a process that ``mpirun -n 2`` starts."""
    return {
        "OMPI_MCA_orte_hnp_uri": f"{job * 2**12}.0;tcp://127.0.0.1:34911", "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(process), "OMPI_COMM_WORLD_LOCAL_RANK": str(process),
    }  # fmt: skip


def run_job(what, started_by=None):
    """What each of two processes prints; they are told where to meet, or find it in the environment."""
    port = free_port()
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.experiments.process.host_job", "" if started_by else f"localhost:{port}"]
    started = [
        subprocess.Popen(
            [*command, "2", str(number), what], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=environment | (started_by(port, number) if started_by else {}),
        )
        for number in range(2)
    ]  # fmt: skip
    # Gloo, which connects CPUs, prints to stdout, too.
    return [json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in started]


def test_a_number_of_processes_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "many")
    with pytest.raises(
        InputError, match="the variable OMPI_COMM_WORLD_SIZE must be the number of processes, got 'many'"
    ):
        hosts.join(None)


@pytest.mark.slow
def test_two_processes_share_work_and_one_writes():
    first, second = run_job("everything")
    assert first["first"] and not second["first"]
    assert (first["done"], second["done"]) == (["one"], [])
    assert (first["found"], second["found"]) == ("by 0", "by 1")
    assert (first["share"], second["share"]) == ([0, 2, 4], [1, 3])
    assert first["gathered"] == second["gathered"] == ["x", "xx"]
    assert first["on_host"] == second["on_host"] == [10, 11, 12, 13]


@pytest.mark.slow
def test_what_goes_wrong_between_processes_is_a_line_in_each():
    for found in run_job("disagree", by_slurm):
        assert "the processes of this job differ in their arguments" in found["error"]
    first, second = run_job("first_fails", by_open_mpi)
    assert first["error"] == "the disk is full"
    assert "the first process of this job has stopped (results)" in second["error"]
