"""Where jobs are done: here, or in processes of their own, which end with the command."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.processes import Processes
from experiments.reproduction.settings import Settings
from experiments.reproduction.workers import Workers
from subspace.errors import InputError
from tests.experiments.reproduction.planted import plan, record

LORA = next(run for run in plan("3").runs if run.method == "lora")
JOB = Job(LORA, 1e-3, Path("glass/train"), {"test": Path("glass/test")}, ())


def test_one_worker_is_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(Execution, "record", lambda self, job: record(job.run, 1.0))
    with Workers(Settings(store=tmp_path), SimpleNamespace()) as workers:
        future = workers.record(JOB)
        assert future.done() and future.result().run == LORA


@pytest.mark.slow
def test_processes_of_their_own_say_what_is_wrong(tmp_path):
    """Real ones, of a data set that is not there."""
    said = []
    reporter = SimpleNamespace(info=said.append)
    with pytest.raises((ValueError, OSError), match="glass/train"):
        with Workers(Settings(store=tmp_path, at_once=2), SimpleNamespace(), reporter) as workers:
            workers.validation_loss(JOB).result(timeout=300)
    assert said == [f"{LORA.name}: a learning rate of 0.001, to compare"]


def test_processes_begin_before_their_first_job_and_end_with_an_exception():
    found = []
    with pytest.raises(ZeroDivisionError):
        with Processes(1, os.chdir, "/") as processes:
            found.append(processes.submit(os.getpid).result(timeout=60))
            assert processes.submit(os.getcwd).result(timeout=60) == "/"
            processes.submit(time.sleep, 1000)
            raise ZeroDivisionError
    assert has_ended(*found)  # long before it has slept


def compute_for_long(path):
    """In one call of compiled code, which keeps Python's lock: no other thread of the process gets to run."""
    path.touch()
    return 3 ** (10**9) > 0


def test_processes_that_keep_pythons_lock_end_with_an_exception_too(tmp_path):
    found = []
    with pytest.raises(ZeroDivisionError):
        with Processes(1, os.getpid) as processes:
            found.append(processes.submit(os.getpid).result(timeout=60))
            processes.submit(compute_for_long, tmp_path / "begun")
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            raise ZeroDivisionError
    assert has_ended(*found)  # long before it has computed


def end_as_for_lack_of_memory():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_the_system_ends_is_one_line(tmp_path):
    with (
        pytest.raises(
            InputError, match=r"^at_once=1: a process was ended, most likely by the system for lack of memory"
        ),
        Processes(1, os.getpid) as processes,
    ):
        processes.submit(end_as_for_lack_of_memory).result(timeout=60)


def test_the_callers_own_processes_go_on():
    other = get_context("spawn").Process(target=time.sleep, args=(1000,))
    other.start()
    try:
        with pytest.raises(ZeroDivisionError), Processes(1, os.getpid) as processes:
            processes.submit(os.getpid).result(timeout=60)
            raise ZeroDivisionError
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def test_processes_compute_with_as_many_threads_as_the_command(monkeypatch):
    """With another number XLA sums in another order."""
    monkeypatch.delenv("NPROC", raising=False)  # of this process, which is no command
    with Processes(1, os.getpid) as processes:
        assert processes.submit(os.getenv, "NPROC").result(timeout=60) == environment_of_a_command()


def environment_of_a_command():
    code = "import os; from experiments.process.command_line import run; run(lambda _: print(os.environ.get('NPROC')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return None if done.stdout.strip() == "None" else done.stdout.strip()


def test_without_shared_memory_one_line_says_so(monkeypatch):
    def none(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("experiments.reproduction.processes.ProcessPoolExecutor", none)
    with pytest.raises(InputError, match=r"at_once=2: several processes need shared memory \(/dev/shm\)"):
        Processes(2, os.getpid)


def ignored():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.slow
def test_signals_of_the_terminal_are_for_the_command():
    with Processes(1, os.getpid) as processes:
        assert processes.submit(ignored).result(timeout=300) == [signal.SIG_IGN] * 2


ABANDONED = """
import os, signal, time
from experiments.reproduction.processes import Processes

processes = Processes(1, os.getpid)
print(processes.submit(os.getpid).result(), flush=True)
processes.submit(time.sleep, 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_command_that_is_killed(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", ABANDONED]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        process = int(killed.stdout.readline())
        assert killed.wait(timeout=300) == -signal.SIGKILL
    for _ in range(300):
        if has_ended(process):
            return
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    pytest.fail("it goes on")


def has_ended(process):
    try:
        return "PlanState:\tZ" in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True
