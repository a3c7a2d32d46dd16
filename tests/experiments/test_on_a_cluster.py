"""Commands on a Ray cluster of three nodes on this machine: what comes out is what one machine makes, whatever is lost."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import grain  # noqa: F401 — whose flags a call would take away with its own
import numpy as np
import pytest
from safetensors.numpy import load_file
from tqdm import tqdm

from experiments import reproduction
from experiments.cluster import versions
from experiments.cluster.connection import connect
from experiments.cluster.gangs import together
from experiments.cluster.messages import Relay, Shown
from experiments.cluster.settings import Ray
from experiments.cluster.tasks import Demand, LostError, Tasks
from experiments.models import load_base
from experiments.presets import PRESETS
from experiments.process.reporting import Reporter
from experiments.reproduction import on_ray
from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.plan import make_plan
from experiments.reproduction.processes import Processes
from experiments.storage import shared
from experiments.training.metrics_log import read_metrics
from subspace.errors import InputError
from tests.experiments.command_of_a_job import shrink
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import SIZE, STAND_IN, content, wait_until
from tests.experiments.storage.s3_server import S3Server
from tests.experiments.training import tiny

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = ("--datasets=2", "--scenes=5", "--views=2", "--resolution=20", "--seed=3", f"--blender={STAND_IN}")
SECONDS = 0.5
QUICK_TO_NOTICE = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}
"""That a node is lost."""


DEADLY = 7
"""Number of a scene with which whatever renders it dies."""


class Nodes:
    """A head that computes nothing, and nodes of one core each, with copies of stores of their own."""

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        self.folder, self.log = folder, folder / "log"
        told = {"seconds": SECONDS, "log": str(self.log), "faults": {f"0/{DEADLY}/0": "parent"}}
        niceness = {"RAY_worker_niceness": "0"}  # of tasks, 15 by default: tests that run beside these would come first
        with mock.patch.dict(os.environ, STAND_IN=json.dumps(told), **niceness):
            head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
            self.cluster = Cluster(initialize_head=True, head_node_args=head)
            self.nodes = [self.add() for _ in range(3)]
        self.flag = f"--executor=ray:{self.cluster.address}"

    def add(self, **variables):
        cache = self.folder / f"copies_{len(self.cluster.list_all_nodes())}"
        return self.cluster.add_node(num_cpus=1, env_vars={"ATTRIBUTE_SUBSPACES_CACHE": str(cache), **variables})

    def scenes(self):
        """(scene, process of its worker) as they were begun."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def lose(self, node):
        """As if the node's power were cut."""
        raylet = node.all_processes["raylet"][0].process.pid
        others = descendants(raylet)
        for process in (raylet, *others):
            os.kill(process, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def node_of(self, process):
        return next(
            (node for node in self.nodes if process in descendants(node.all_processes["raylet"][0].process.pid)), None
        )


def parents():
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return found


def descendants(process):
    parent_of, found = parents(), {process}
    while more := {child for child, parent in parent_of.items() if parent in found} - found:
        found |= more
    return found - {process}


@pytest.fixture(scope="module")
def store():
    """A server of S3, which nodes find by their environment."""
    server = S3Server()
    with server.reached():
        yield server
    server.close()


@pytest.fixture(scope="module")
def cluster(store, tmp_path_factory):
    import ray

    ray.shutdown()  # what other tests were connected to
    made = Nodes(tmp_path_factory.mktemp("cluster"))
    yield made
    ray.shutdown()
    made.cluster.shutdown()


@pytest.fixture
def nodes(cluster):
    """The cluster, with this process connected from the root, which is where nodes then find the package ``tests``."""
    with contextlib.chdir(ROOT):
        connect(Ray(cluster.cluster.address))
    return cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    done = call("experiments.generate", *SMALL, f"--output={output}")
    assert done.status == 0, done.stderr
    return content(output)


@contextlib.contextmanager
def running(folder, *arguments, cwd=ROOT):
    """A Python that runs, killed if it still does at the end. A pipe that nobody reads would stop it: it writes files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)], stdout=stdout, stderr=stderr, cwd=cwd, env=environment
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_node_that_is_lost_while_rendering_costs_what_it_was_at(nodes, undisturbed, tmp_path):
    arguments = ("experiments.generate", *SMALL, f"--output={tmp_path / 'out'}", nodes.flag)
    with running(tmp_path / "said", *arguments) as process:
        wait_until(lambda: len(nodes.scenes()) >= 4)
        *_, (scene, worker) = nodes.scenes()
        nodes.lose(nodes.node_of(worker))
        status = process.wait(timeout=120)
    output, errors = ((tmp_path / "said" / name).read_text() for name in ("stdout", "stderr"))
    assert status == 0, errors
    assert content(tmp_path / "out") == undisturbed
    assert len(output.splitlines()) == 1 and "is lost" in errors
    assert Counter(name for name, _ in nodes.scenes()) - Counter({scene: 1}) == Counter(
        f"{dataset}/{number}/0" for dataset in range(2) for number in range(5)
    )


def test_a_driver_that_is_killed_goes_on_from_what_is_there(nodes, undisturbed, tmp_path):
    nodes.log.unlink(missing_ok=True)
    arguments = (*SMALL, f"--output={tmp_path / 'out'}", nodes.flag)
    with running(tmp_path / "said", "experiments.generate", *arguments):
        wait_until(lambda: len(nodes.scenes()) >= 4)
        done = {path.parent.name + "/" + path.name for path in (tmp_path / "out").glob("*/scene_*")}
    finished = call("experiments.generate", *arguments)
    assert finished.status == 0, finished.stderr
    assert content(tmp_path / "out") == undisturbed
    assert done and not [name for name, count in Counter(name for name, _ in nodes.scenes()).items() if count > 2]
    once = {
        f"dataset_{int(name[0]):02d}/scene_{int(name[2]):04d}"
        for name, n in Counter(n for n, _ in nodes.scenes()).items()
        if n == 1
    }
    assert done <= once


def die(log, when, job):
    with open(log, "a") as file:
        file.write(f"{job}\n")
    if job == when:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def test_a_task_that_dies_as_often_as_it_may_ends_alone(nodes, tmp_path):
    cluster, log = Ray(nodes.cluster.address, retries=1), tmp_path / "log"
    connect(cluster)
    with Tasks(cluster, die, Demand(1)) as tasks:
        for job in range(3):
            tasks.begin(job, log, 1, job)
        future = tasks.submit(log, 4, 4)
        found = {}
        while len(tasks):
            found |= dict(tasks.next(1.0))
        assert isinstance(future.exception(timeout=60), LostError)
    assert isinstance(found.pop(1), LostError) and found == {0: 0, 2: 2}
    assert Counter(log.read_text().split()) == {"0": 1, "1": 2, "2": 1, "4": 2}


def meet(log):
    """How many processes and devices there are; the second process dies when it does this for the first time."""
    import jax

    from experiments.process.hosts import is_first, wait_for_all

    wait_for_all("everybody")
    if not is_first() and not log.exists():
        log.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_all("the second")
    return jax.process_count(), jax.device_count(), is_first()


def test_processes_of_one_job_begin_again_together(nodes, tmp_path):
    cluster = Ray(nodes.cluster.address, retries=1, processes=2)
    connect(cluster)
    assert together(cluster, meet, (tmp_path / "log",), Demand(1)) == (2, 2, True)
    with pytest.raises(InputError, match="processes=9"):
        together(Ray(nodes.cluster.address, processes=9), meet, (tmp_path / "log",), Demand(1))


def tell(board, name):
    reporter = Relay(board, name)
    reporter.warning("geometry 00: look")
    with reporter.progress(4, " steps") as bar:
        bar.update(3)
        bar.set_postfix_str("loss 1.5")


def test_what_tasks_tell_is_shown_by_the_thread_that_waits(nodes):
    """Another one that draws may hang it: tqdm has locks."""
    bars, threads = [], set()

    class Reported(Reporter):
        def warning(self, line):
            threads.add(threading.current_thread())
            bars.append(line)

        def progress(self, total, unit, description=None, **options):
            threads.add(threading.current_thread())
            bars.append(tqdm(total=total, unit=unit, desc=description, file=io.StringIO(), **options))
            return bars[-1]

    cluster = Ray(nodes.cluster.address)
    connect(cluster)
    with Shown(Reported()) as shown, Tasks(cluster, tell, Demand(1)) as tasks:
        tasks.begin("one", shown.board, "geometry 00")
        while len(tasks):
            tasks.next(1.0)
    line, bar = bars
    assert line == f"geometry 00 on {socket.gethostname()}: look"
    assert (bar.n, bar.total, bar.unit, bar.postfix) == (3, 4, " steps", "loss 1.5")
    assert threads == {threading.current_thread()}


def test_a_scene_that_costs_every_node_its_worker_is_listed_as_failed(nodes, tmp_path):
    arguments = ("--datasets=1", f"--scenes={DEADLY + 1}", "--views=2", "--resolution=20", f"--blender={STAND_IN}")
    finished = call("experiments.generate", *arguments, f"--store={tmp_path}", nodes.flag, "--retries=1")
    assert finished.status == 0, finished.stderr
    (folder,) = tmp_path.glob("data/*/dataset_00")
    (failed,) = json.loads((folder / "manifest.json").read_text())["failed"]
    assert failed["scene"] == DEADLY and "lost 2 times" in failed["errors"][0]
    assert len(list(folder.glob("scene_*"))) == DEADLY
    status = call("experiments.status", f"--store={tmp_path}")
    assert f"scene {DEADLY}" in status.stdout and "lost 2 times" in status.stdout


def done(command, *arguments, work):
    """A command at the size of the tiny model, in the folder ``work`` and in this process, which has JAX already."""
    with mock.patch.dict(PRESETS), contextlib.chdir(work):
        shrink()
        ended = call(f"experiments.{command}", *arguments)
    assert ended.status == 0, ended.stderr[-3000:]


def arrays(folder):
    """Of all adapters in a folder."""
    found = {
        path.name: load_file(path) for path in folder.rglob("*.safetensors") if path.name != "subspace.safetensors"
    }
    return {f"{name} {key}": value for name, file in found.items() for key, value in file.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


STEPS = 300
EXTRACT = ("--attribute=lighting", "--k=2", "--rank=1", "--dim=1", f"--steps={STEPS}", f"--blender={STAND_IN}")


RATE = ("--weights=tiny", "--adapter=one/tuned/adapter.safetensors", "--views=0,1")
TUNE = ("--weights=tiny", "--method=lora", "--rank=1", "--steps=3")


def data_of(work):
    return f"--data={next((work / 'one' / 'data').iterdir()) / 'dataset_00'}"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a tiny model, and an extraction, a fine-tuning and an evaluation by this machine alone."""
    folder = tmp_path_factory.mktemp("work")
    tiny.write(folder / "tiny")
    done("extract", *EXTRACT, "--weights=tiny", "--store=one", "--output=one/out", work=folder)
    done("finetune", *TUNE, data_of(folder), "--store=one", "--output=one/tuned", work=folder)
    done("evaluate", *RATE, data_of(folder), "--store=one", "--output=one/good", work=folder)
    return folder


def test_nodes_that_share_a_store_need_no_file_system(nodes, store, work, monkeypatch):
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(work / "copies"))
    address = store.bucket()
    done("extract", *EXTRACT, "--weights=tiny", f"--store={address}", "--output=stored/out", nodes.flag, work=work)
    assert_same(arrays(work / "stored" / "out" / "adapters"), arrays(work / "one" / "out" / "adapters"))
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(work / "another machine"))
    copies = shared.store_at(shared.opened(address))
    names = [name for name in copies.names() if copies.fetch(name)]
    assert Counter(name.partition("/")[0] for name in names) == {"data": 3, "adapter_parts": 2, "adapters": 1}
    assert content(copies.copies.folder / "data") == content(work / "one" / "data")
    assert not copies.objects.names("begun") and not copies.objects.names("running")
    (data,) = [name for name in names if name.endswith("dataset_00")]
    tune = (*TUNE, f"--data={address}/{data}", f"--store={address}", "--output=stored/tuned", nodes.flag)
    done("finetune", *tune, work=work)
    assert_same(arrays(work / "stored" / "tuned"), arrays(work / "one" / "tuned"))


def test_two_nodes_train_as_one_job(nodes, work):
    told = (*EXTRACT, "--weights=tiny", "--store=both", "--output=both/out", "--processes=2", nodes.flag)
    done("extract", *told, work=work)
    found, expected = (next((work / name / "adapters").iterdir()) for name in ("both", "one"))
    assert found.name == expected.name
    events, of_one = (list(read_metrics(each / "metrics.jsonl")) for each in (found, expected))
    # Every device computes one adapter, and sums in an order of its own. These terms are means over all pixels; the others
    # leave out the worst pixels if more than 1,000 stay, which the last bit decides: here there are about 1,020.
    for term in ("loss_camera", "loss_grad_depth"):
        values, expected_values = ([event[term] for event in each[:5]] for each in (events, of_one))
        np.testing.assert_allclose(values, expected_values, rtol=1e-5, err_msg=term)
    losses, one = (np.array([event["loss"] for event in each]) for each in (events, of_one))
    assert losses.shape == one.shape
    np.testing.assert_allclose(losses[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(losses, one, rtol=1e-2)


def test_a_node_that_is_lost_while_training_changes_no_adapter(nodes, work):
    store = work / "many"
    arguments = (*EXTRACT, "--weights=tiny", "--store=many", "--output=many/out", nodes.flag)
    command = ("tests.experiments.command_of_a_job", "-", "experiments.extract", *arguments)
    with running(work / "said", *command, cwd=work) as process:
        parts = store / "adapter_parts"
        wait_until(lambda: list(parts.glob("*/checkpoints/[0-9]*")) or process.poll() is not None, 600)
        first = next(parts.glob("*/checkpoints/[0-9]*")).parents[1]
        assert not (first / "held_out.json").exists()
        nodes.lose(nodes.node_of(json.loads((first / ".lock").read_text())["pid"]))
        status = process.wait(timeout=600)
    errors = (work / "said" / "stderr").read_text()
    assert status == 0, errors[-3000:]
    assert "is lost" in errors
    assert_same(arrays(store / "out" / "adapters"), arrays(work / "one" / "out" / "adapters"))
    adapters, expected = (next((work / name / "adapters").iterdir()) for name in ("many", "one"))
    assert adapters.name == expected.name  # either finds what the other made
    steps = [event["step"] for event in read_metrics(adapters / "metrics.jsonl") if event["kind"] == "training"]
    assert steps == list(range(1, STEPS + 1))


def test_one_node_fine_tunes_and_evaluates(nodes, work):
    done("finetune", *TUNE, data_of(work), "--store=many", "--output=many/tuned", nodes.flag, work=work)
    done("evaluate", *RATE, data_of(work), "--store=many", "--output=many/good", nodes.flag, work=work)
    assert_same(arrays(work / "many" / "tuned"), arrays(work / "one" / "tuned"))
    assert (work / "many" / "good" / "scenes.csv").read_text() == (work / "one" / "good" / "scenes.csv").read_text()


def small_loss(execution, job):
    """What a learning rate comes to with the tiny model and four scenes, on nodes as well, whose presets are as usual."""
    with mock.patch.dict(PRESETS):
        shrink()
        small = replace(PRESETS["nano"], scale=replace(PRESETS["nano"].scale, held_out=1))
        with mock.patch.dict(PRESETS, nano=small):
            return execution.validation_loss(job)


def small_loss_here(settings, job):
    base = load_base(settings.base_weights, PRESETS["nano"].rendering.resolution, PRESETS["nano"].training)
    return small_loss(Execution(settings, base), job)


def test_a_job_of_a_reproduction_has_the_same_loss(nodes, tmp_path):
    sizes = ("--datasets=2", "--scenes=4", "--views=8", f"--resolution={SIZE}", f"--blender={STAND_IN}")
    assert call("experiments.generate", *sizes, f"--output={tmp_path / 'data'}").status == 0
    tiny.write(tmp_path / "tiny")
    runs = make_plan(("2",), (0,), PRESETS["nano"].scale).runs
    run = next(run for run in runs if run.method == "full" and run.task != "faces")
    training, test = tmp_path / "data" / "dataset_00", tmp_path / "data" / "dataset_01"
    job = Job(run=run, rate=1e-3, training=training, tests={"test": test}, subspaces=())
    settings = reproduction.Settings(weights=str(tmp_path / "tiny"), store=tmp_path / "many")
    cluster = Ray(nodes.cluster.address)
    there = on_ray.Nodes(settings, cluster)
    (future,) = there.wait([there.submit(small_loss, job)])
    there.close()
    with Processes(1, os.getpid) as processes:
        here = processes.submit(small_loss_here, replace(settings, store=tmp_path / "one"), job).result()
    assert future.result() == here < float("inf")


def test_nodes_prepare_what_one_machine_prepares(nodes, tmp_path):
    arguments = ("--task=glass", "--split=test", "--scenes=2", "--views=2", "--resolution=28", f"--blender={STAND_IN}")
    for name, where in (("one", []), ("many", [nodes.flag])):
        finished = call("experiments.prepare", *arguments, f"--output={tmp_path / name}", *where)
        assert finished.status == 0, finished.stderr
    assert content(tmp_path / "many") == content(tmp_path / "one") != {}


def test_nodes_with_other_versions_are_refused(nodes, tmp_path):
    import ray

    ray.shutdown()
    arguments = (*SMALL, f"--output={tmp_path / 'out'}", nodes.flag)
    other = {**versions.here(), "attribute-subspaces": "0.1.0 (00000000)"}
    with mock.patch.object(versions, "here", lambda: other):
        done = call("experiments.generate", *arguments)
    assert done.status == 2 and "0.1.0 (00000000)" in done.stderr and len(done.stderr.splitlines()) == 1
    node = nodes.add(STAND_IN=json.dumps({"version": "9.9"}))
    done = call("experiments.generate", *arguments)
    nodes.cluster.remove_node(node, allow_graceful=False)
    assert done.status == 2 and "Blender 9.9" in done.stderr and "Blender 0.0" in done.stderr
    assert not list(tmp_path.glob("out/*"))
