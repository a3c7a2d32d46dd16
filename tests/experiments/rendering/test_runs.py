"""Runs that are repeated, continued, damaged, refused; and scenes that cannot be rendered."""

import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import msgspec
import pytest

from experiments.data.manifest import read_manifest
from experiments.data.scene_folder import read_record
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from subspace.errors import InputError
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, content, make_scene, told


@dataclass
class Run:
    """What a run asked for."""

    outcome: runs.Outcome
    rendered: list[str]
    """dataset/scene/attempt"""


def generate(output, datasets=2, scenes=3, settings=SETTINGS, scene_maker=lambda: make_scene, **options):
    log = output.parent / f"{time.monotonic_ns()}.log"
    with told(log=str(log), **options.pop("instructions", {})):
        outcome = runs.generate(
            output, settings, datasets, scenes, scene_maker, lambda: LocalPool(COMMAND, 2), **options
        )
    return Run(outcome, sorted(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else [])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of which nothing went wrong."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    generate(output)
    return output


@pytest.fixture(scope="module")
def undisturbed(original):
    """Its content."""
    return content(original)


@pytest.fixture
def done(original, tmp_path):
    """A copy of it."""
    return shutil.copytree(original, tmp_path / "out")


def test_a_repeated_run_does_nothing(done, undisturbed):
    def never():
        raise AssertionError("nothing is to be rendered")

    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    outcome = runs.generate(done, SETTINGS, 2, 3, never, never, verify=True)
    assert (outcome.scenes, outcome.failed, outcome.rendered) == (6, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before
    assert content(done) == undisturbed


def test_the_manifest_counts_what_is_there(done):
    manifest = read_manifest(done / "dataset_01")
    assert (manifest.dataset, manifest.settings) == (1, SETTINGS)
    assert manifest.counts == {"scenes": 3, "views": 3, "images": 9, "failed_scenes": 0}
    assert manifest.versions["renderer"] == "Blender 0.0 (stand-in)"
    for name, record in manifest.scenes.items():
        assert record == read_record(done / "dataset_01" / name)
    assert manifest.timings["seconds"] == pytest.approx(sum(r.seconds for r in manifest.scenes.values()), abs=2e-3)


@pytest.mark.parametrize("how", ["changed", "cut", "missing", "no record", "bad record", "no folder", "unfinished"])
def test_damage_is_found_and_rendered_again(done, undisturbed, how, caplog):
    scene = done / "dataset_01" / "scene_0001"
    arrays = scene / "arrays" / "000002.npz"
    if how in ("changed", "unfinished"):
        damaged = bytearray(arrays.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        arrays.write_bytes(damaged)
    if how == "unfinished":  # of an interrupted run everything is hashed
        os.utime(arrays, ns=(0, 0))
        (done / "dataset_01" / "manifest.json").unlink()
    if how == "cut":
        os.truncate(scene / "images" / "000000.png", 20)
    if how == "missing":
        (scene / "cameras.json").unlink()
    if how == "no record":
        (scene / "record.json").unlink()
    if how == "bad record":
        (scene / "record.json").write_text('{"attempt": 0}')
    if how == "no folder":
        scene.rename(done / "elsewhere")
    assert generate(done).rendered == ["1/1/0"]
    if how == "no folder":
        assert content(done / "elsewhere") == content(scene)
    else:
        assert content(done) == undisturbed
        assert "scene_0001" in caplog.text
    assert generate(done).rendered == []


def test_silent_faults_are_found_on_request(done, undisturbed):
    arrays = done / "dataset_00" / "scene_0000" / "arrays" / "000000.npz"
    written = arrays.stat().st_mtime_ns
    damaged = bytearray(arrays.read_bytes())
    damaged[-30] ^= 1
    arrays.write_bytes(damaged)
    os.utime(arrays, ns=(written - 10**9, written - 10**9))
    assert generate(done).rendered == []
    assert generate(done, verify=True).rendered == ["0/0/0"]
    assert content(done) == undisturbed


def test_a_lost_contact_sheet_is_drawn_again(done, undisturbed):
    (done / "dataset_00" / "contact_sheet.png").unlink()
    assert generate(done).rendered == []
    assert content(done) == undisturbed


def test_more_scenes_and_data_sets_are_made_up_and_fewer_scenes_refused(done, undisturbed):
    assert generate(done, datasets=3, scenes=4).rendered == ["0/3/0", "1/3/0", *(f"2/{i}/0" for i in range(4))]
    now = content(done)
    scenes = {name: digest for name, digest in undisturbed.items() if "/scene_" in name}
    assert scenes.items() < now.items()
    with pytest.raises(ValueError, match="dataset_00 holds 4 scenes, scenes=3 is fewer"):
        generate(done, datasets=3)


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("setting", "micro_baseline"), ("samples", 16)])
def test_other_settings_are_refused_by_name(done, name, value):
    with pytest.raises(ValueError, match=rf"with {name}={getattr(SETTINGS, name)}, not {value}"):
        generate(done, settings=msgspec.structs.replace(SETTINGS, **{name: value}))


def test_scenes_of_another_version_are_refused(done):
    (done / "dataset_00" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="not what this version makes"):
        generate(
            done, scenes=4, scene_maker=lambda: lambda dataset, scene, attempt: make_scene(dataset, scene + 9, attempt)
        )
    with pytest.raises(ValueError, match=r"begun with Blender 0\.0 \(stand-in\), this is Blender 5\.0\.1"):
        generate(done, scenes=4, instructions={"version": "5.0.1"})


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds 'thesis\.tex'"):
        generate(tmp_path / "out")
    with pytest.raises(NotADirectoryError, match=r"thesis\.tex/out"):
        generate(tmp_path / "out" / "thesis.tex" / "out")


@pytest.mark.parametrize("how", ["other settings", "damaged"])
@pytest.mark.parametrize("name", ["notes.txt", "scene_0001/masks/000000.png", "scene_0001/images/000000.jpg"])
def test_what_somebody_put_into_a_data_set_is_never_deleted(done, name, how):
    mine = done / "dataset_01" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("dear")
    other = done / "dataset_mine"
    other.mkdir()
    assert generate(done).rendered == []  # it disturbs nothing
    settings = SETTINGS
    if how == "damaged":
        (done / "dataset_01" / "scene_0001" / "cameras.json").unlink()
    else:
        settings = msgspec.structs.replace(SETTINGS, seed=1)
    with pytest.raises(InputError, match=f"dataset_01 would be replaced, and holds '{name}'"):
        generate(done, settings=settings, overwrite=True)
    assert mine.read_text() == "dear" and (done / "dataset_00" / "manifest.json").exists()
    mine.unlink()
    (done / "dataset_01" / ".DS_Store").touch()
    generate(done, settings=settings, overwrite=True)
    assert other.is_dir()


def test_a_blender_that_does_not_start_leaves_nothing(tmp_path):
    broken = {"broken": "this Python cannot import bpy"}
    with pytest.raises(InputError, match="this Python cannot import bpy"):
        generate(tmp_path / "out", instructions=broken)
    assert not (tmp_path / "out").exists()


def test_one_run_at_a_time_and_the_second_takes_what_the_first_made(tmp_path):
    with ThreadPoolExecutor() as pool:
        began = Event()
        second = pool.submit(lambda: (began.wait(60), generate(tmp_path / "out"))[1])

        def maker():
            began.set()
            time.sleep(0.5)
            return make_scene

        assert generate(tmp_path / "out", scene_maker=maker).outcome.rendered == 6
        assert second.result().outcome.rendered == 0
    assert not list((tmp_path / "out").glob(".*"))


def test_a_scene_that_fails_is_replaced_and_one_that_always_fails_is_listed(tmp_path, undisturbed, caplog):
    faults = {"0/1/0": "error", "1/0/0": "error", "1/0/1": "exit", "1/0/2": "corrupt"}
    run = generate(tmp_path / "out", instructions={"faults": faults})
    assert (run.outcome.scenes, run.outcome.failed) == (5, 1)
    first, second = (read_manifest(tmp_path / "out" / f"dataset_0{i}") for i in range(2))
    assert first.scenes["scene_0001"].attempt == 1
    assert first.scenes["scene_0001"].failures == ("the mesh is not closed",)
    assert second.counts["scenes"] == 2 and not (tmp_path / "out" / "dataset_01" / "scene_0000").exists()
    (failed,) = second.failed
    assert failed.scene == 0 and len(failed.errors) == runs.ATTEMPTS
    assert failed.errors[1].endswith("ran out of something") and "cannot be read" in failed.errors[2]
    assert "dataset_00/scene_0001, attempt 1 of 3: the mesh is not closed" in caplog.text
    others = {
        name: digest for name, digest in undisturbed.items() if "_01/scene_0001" in name or "_01/scene_0002" in name
    }
    assert others.items() < content(tmp_path / "out").items()
    assert generate(tmp_path / "out").rendered == []  # it has been tried


def test_specifications_that_cannot_be_made_are_failures_too(tmp_path):
    def make(dataset, scene, attempt):
        if (dataset, scene) == (0, 2) and attempt < 2:
            raise InputError("no place for the cameras")
        return make_scene(dataset, scene, attempt)

    generate(tmp_path / "out", scene_maker=lambda: make)
    record = read_manifest(tmp_path / "out" / "dataset_00").scenes["scene_0002"]
    assert (record.attempt, record.failures) == (2, ("no place for the cameras",) * 2)


def test_a_data_set_without_any_scene_is_an_error(tmp_path):
    faults = {f"0/{scene}/{attempt}": "error" for scene in range(3) for attempt in range(3)}
    with pytest.raises(
        ValueError, match=r"none of the 3 scenes of .*dataset_00 could be rendered: the mesh is not closed"
    ):
        generate(tmp_path / "out", instructions={"faults": faults})
    read_manifest(tmp_path / "out" / "dataset_01")
    assert not (tmp_path / "out" / "dataset_00").exists()


def test_a_run_without_any_scene_leaves_nothing_and_tells_each_reason_once(tmp_path, caplog):
    def make(dataset, scene, attempt):
        raise InputError(f"mesh {scene} is damaged")

    with pytest.raises(
        InputError, match="rendered: mesh 0 is damaged; mesh 1 is damaged; mesh 2 is damaged; and 2 more"
    ):
        generate(tmp_path / "some" / "out", datasets=1, scenes=5, scene_maker=lambda: make)
    assert not (tmp_path / "some").exists() and not caplog.text


@pytest.mark.parametrize("nth", [1, 4, 12, 30])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, undisturbed, nth):
    write, count = Path.write_bytes, [0]

    def full(path, data):
        count[0] += 1
        if count[0] >= nth:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left on device"):
        generate(tmp_path / "out")
    monkeypatch.undo()
    left = [path for path in (tmp_path / "out").rglob("*") if ".partial" in str(path)]
    assert left == []
    for scene in (tmp_path / "out").glob("dataset_*/scene_*"):
        name = scene.relative_to(tmp_path / "out").as_posix()
        assert {
            f"{name}/{path}": digest for path, digest in read_record(scene).files.items()
        }.items() < undisturbed.items()
    generate(tmp_path / "out")
    assert content(tmp_path / "out") == undisturbed


def test_settings_are_readable(done):
    assert json.loads((done / "settings.json").read_text()) == msgspec.to_builtins(SETTINGS)
