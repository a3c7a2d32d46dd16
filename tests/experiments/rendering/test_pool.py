"""Workers that crash, hang, talk nonsense or report errors; and scenes that come out the same all the while."""

import sys
import threading

import pytest

from experiments.data.scene_folder import read_record
from experiments.process.cores import available_cores
from experiments.rendering.jobs import Failed, RenderJob, RenderResult, time_limit
from experiments.rendering.pool import LocalPool, check_memory
from experiments.rendering.worker_process import WorkerLost, WorkerProcess
from experiments.scenes import schema
from experiments.storage import files
from subspace.errors import InputError
from tests.experiments.rendering.small_scenes import COMMAND, VIEWS, alive, make_scene, told, wait_until


def jobs(folder, scenes):
    folder.mkdir(exist_ok=True)
    return [RenderJob(make_scene(0, scene, 0), folder / str(scene)) for scene in range(scenes)]


def render(folder, scenes, workers=2, **settings):
    with LocalPool(COMMAND, workers, **settings) as pool:
        results = pool.render(jobs(folder, scenes))
        return {
            result.scene if isinstance(result, Failed) else int(result.job.folder.name): result for result in results
        }


def files_of(result):
    assert isinstance(result, RenderResult), result.error
    return result.record.files


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(results, folder) of six scenes by one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return render(folder, 6, workers=1), folder


def test_records_say_how_it_went(undisturbed):
    results, folder = undisturbed
    assert sorted(path.name for path in folder.iterdir()) == list("012345")
    for scene, result in results.items():
        assert result.record == read_record(folder / str(scene))
        assert files_of(result) == {
            name: digest for name, digest in files.hashes(folder / str(scene)).items() if name != "record.json"
        }
        assert len(files_of(result)) == 2 * VIEWS + 2
        assert result.record.renderer == "Blender 0.0 (stand-in)" and result.record.seconds > 0
        assert (folder / str(scene) / "spec.json").read_bytes() == schema.to_json(make_scene(0, scene, 0))


def test_faults_cost_only_their_scenes_and_change_no_others(undisturbed, tmp_path):
    expected, _ = undisturbed
    faults = {"0/0/0": "crash", "0/1/0": "garbage", "0/2/0": "error", "0/3/0": "corrupt", "0/4/0": "hang"}
    with told(faults=faults):
        results = render(tmp_path / "out", 6, workers=3, seconds_limit=2.0)
    errors = {scene: result.error for scene, result in results.items() if isinstance(result, Failed)}
    assert "killed by SIGSEGV" in errors[0]
    assert "Fra:1 Mem:20M | not JSON" in errors[1]
    assert errors[2] == "the mesh is not closed"
    assert "view 1 cannot be read" in errors[3]
    assert errors[4] == "no answer within 2 s"
    assert files_of(results[5]) == files_of(expected[5])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["5"]  # nothing half-written beside it


def test_any_number_of_workers_gives_the_same_files(undisturbed, tmp_path):
    expected, _ = undisturbed
    results = render(tmp_path / "out", 6, workers=3, restart_after=1)
    assert {scene: files_of(result) for scene, result in results.items()} == {
        scene: files_of(result) for scene, result in expected.items()
    }


def test_a_crash_that_is_the_machines_fault_costs_nothing(undisturbed, tmp_path):
    with told(faults={"0/1/0": "once"}, log=str(tmp_path / "log")):
        results = render(tmp_path / "out", 2, workers=1)
    assert files_of(results[1]) == files_of(undisturbed[0][1])
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["0/0/0", "0/1/0", "0/1/0"]


def test_last_words_and_ill_typed_answers_are_reported(tmp_path):
    with told(faults={"0/0/0": "exit", "0/1/0": "nonsense"}):
        results = render(tmp_path / "out", 2)
    errors = {scene: result.error for scene, result in results.items() if isinstance(result, Failed)}
    assert errors[0] == "the worker ended with status 1: Blender ran out of something"
    assert "'seconds': 'many'" in errors[1]


def test_workers_are_pinned_and_replaced(tmp_path):
    with told(log=str(tmp_path / "log"), seconds=0.05):
        render(tmp_path / "out", 8, workers=2, restart_after=2)
    lines = [line.split(maxsplit=2) for line in (tmp_path / "log").read_text().splitlines()]
    pids = [pid for _, pid, _ in lines]
    assert len(set(pids)) >= 4 and max(pids.count(pid) for pid in pids) == 2
    cores = {cores for _, _, cores in lines}
    assert cores <= {f"[{core}]" for core in available_cores()} and len(cores) == min(2, len(available_cores()))
    assert not any(alive(pid) for pid in pids)


def test_an_installed_blender_may_say_its_version_first(undisturbed, tmp_path):
    with told(banner="Blender 4.5.15 LTS (hash 1a2b3c built 2026-10-01)"):
        results = render(tmp_path / "out", 1, workers=1)
    assert files_of(results[0]) == files_of(undisturbed[0][0])


def test_a_worker_that_cannot_start_is_one_clear_error(tmp_path):
    with told(broken="this Python cannot import bpy"), pytest.raises(InputError, match="this Python cannot import bpy"):
        render(tmp_path / "out", 2)
    with pytest.raises(InputError, match="cannot run /no/blender: No such file"), LocalPool(["/no/blender"], 1) as pool:
        list(pool.render(jobs(tmp_path / "out", 1)))
    assert not (tmp_path / "out").exists()


def test_another_version_is_refused(tmp_path):
    (job,) = jobs(tmp_path / "out", 1)
    job = RenderJob(job.scene, job.folder, renderer="Blender 4.5.15")
    with LocalPool(COMMAND, 1) as pool, pytest.raises(ValueError, match=r"4\.5\.15, this is Blender 0\.0"):
        list(pool.render([job]))


def test_jobs_are_taken_one_by_one(tmp_path):
    taken = []

    def lazily():
        for job in jobs(tmp_path / "out", 6):
            taken.append(job)
            yield job

    with LocalPool(COMMAND, 1) as pool:
        for done, _ in enumerate(pool.render(lazily()), start=1):
            assert len(taken) <= done + 2


def test_closing_ends_a_hanging_worker_at_once(tmp_path):
    log = tmp_path / "log"

    def consume():
        list(pool.render(jobs(tmp_path / "out", 1)))

    with told(faults={"0/0/0": "hang"}, log=str(log)), LocalPool(COMMAND, 1) as pool:
        consumer = threading.Thread(target=consume, daemon=True)
        consumer.start()
        wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
        pool.close()  # the worker would hang for an hour
        assert not alive(log.read_text().split()[1])
        consumer.join()
    assert list((tmp_path / "out").iterdir()) == []


def test_time_limit_grows_with_the_work():
    small, large = make_scene(0, 0, 0), make_scene(0, 0, 0, size=518, views=100)
    assert 60 < time_limit(small) < 61
    rendering = 100 * 11.0 * large.render.samples / 4  # seconds on one core
    assert 3 * rendering < time_limit(large) < 20 * rendering


def test_a_limit_beyond_what_a_timer_takes_is_none(tmp_path, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    results = render(tmp_path / "out", 1, workers=1, seconds_limit=1e12)
    assert files_of(results[0]) and not raised


def test_a_killed_worker_process_says_so(tmp_path):
    worker = WorkerProcess(COMMAND, available_cores()[0])
    worker.kill()
    with pytest.raises(WorkerLost, match="killed by SIGKILL"):
        worker.render(tmp_path, tmp_path, 5.0)
    worker.close()


@pytest.mark.parametrize(
    ("workers", "resolution", "argument"),
    [(1000, 96, "workers"), (2, 60_000, "resolution"), (None, 60_000, "resolution")],
)
def test_processes_that_memory_has_no_room_for_are_refused(workers, resolution, argument):
    check_memory(workers, 10_000, resolution, None)
    check_memory(workers, 1, 96, 10**9)  # no more are started than there are scenes
    with pytest.raises(InputError, match="GiB of memory") as error:
        check_memory(workers, 10_000, resolution, 8 * 10**9)
    assert error.value.argument == argument


LEAVES = """
import json, sys, tempfile
tempfile.mkdtemp()
print(json.dumps({"ready": True, "blender": "none"}), flush=True)
sys.stdin.read()
"""


def test_temporary_files_of_workers_lie_in_the_runs_folder_and_are_gone_with_it(tmp_path):
    (tmp_path / ".blender.01234567.partial").mkdir()  # of a killed process
    with LocalPool([sys.executable, "-I", "-c", LEAVES], 1, scratch=tmp_path):
        (folder,) = tmp_path.iterdir()
        assert folder.name != ".blender.01234567.partial" and len(list(folder.iterdir())) == 1
    assert not list(tmp_path.iterdir())
