"""What it costs to have Ray between a command and its scenes, at a small size: what is said and what is held."""

import re

import pytest

from experiments.benchmarks import cluster
from experiments.process.memory import most_resident
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import STAND_IN

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_a_cluster():
    """A process has one cluster, which other tests do not want."""
    ray.shutdown()
    yield
    ray.shutdown()


def test_both_parts_say_their_figures():
    before = most_resident() / 1e9  # of a process that other tests have used
    done = call("experiments.benchmark", "cluster", "--rounds=1", "--jobs=400", f"--blender={STAND_IN}")
    assert done.status == 0, done.stderr
    assert len(re.findall(r"round \d: LocalPool \d+\.\d\d images/s, Ray \d+\.\d\d", done.stdout)) == 2
    assert len(re.findall(r"difference for each scene: [+-]\d+\.\d\d seconds of a core", done.stdout)) == 2
    assert re.search(r"together: .* Ray \d+\.\d\d: \d+\.\d% of LocalPool", done.stdout)
    assert re.search(r"CPU-seconds an image: LocalPool 0\.\d{3}, Ray 0\.\d{3}", done.stdout)
    last = done.stdout.splitlines()[-1]
    figures = re.fullmatch(
        r"  (\d+) jobs/s .* at most the command (\d\.\d\d) GB, Ray's head (\d\.\d\d) GB, its raylet \d\.\d\d GB", last
    )
    assert figures is not None, last
    rate, command, head = figures.groups()
    assert int(rate) > 10 and float(command) < before + 0.5 and float(head) < 1  # a full run asks for 200 a second


def test_jobs_are_taken_as_there_is_room_for_them(tmp_path):
    """100,000 of them are never in the memory at once."""
    from experiments.cluster.settings import Ray
    from experiments.rendering.on_ray import RayPool, Work

    taken = []
    jobs = cluster._jobs(cluster._scene(1, 28), 300, tmp_path)
    work = Work(cluster._nothing_here, cluster._render_nothing)
    with RayPool(Ray(), None, work=work) as pool:
        for done, _ in enumerate(pool.render(job for job in jobs if not taken.append(job)), start=1):
            assert len(taken) - done < 20
    assert len(taken) == 300 and len(list(tmp_path.glob("*/*"))) == 300
