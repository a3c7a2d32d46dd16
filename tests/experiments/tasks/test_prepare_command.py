"""``python -m experiments.prepare``: what it writes, and everything that can be wrong with its input."""

import sys

import pytest
import trimesh

from experiments.data.dataset import Dataset
from experiments.data.manifest import TaskSettings
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import STAND_IN, content
from tests.experiments.tasks.recordings.written import write_capture
from tests.experiments.tasks.test_scans import scan

SMALL = ("--scenes=2", "--views=2", "--resolution=20", "--seed=3", f"--blender={STAND_IN}")


def run(*arguments):
    done = call("experiments.prepare", *arguments)
    return done.status, done.stdout, done.stderr


def test_both_splits_become_data_sets_of_the_task_and_then_there_is_nothing_to_do(tmp_path):
    code, said, errors = run("--task=glass", *SMALL, f"--output={tmp_path / 'glass'}")
    assert code == 0, errors
    assert [line.split(" to ")[0] for line in said.splitlines()] == ["wrote 2 scenes × 2 views of 20×20 pixels"] * 2
    for split, samples in (("train", 4), ("test", 16)):
        dataset = Dataset(tmp_path / "glass" / split / "dataset_00")
        dataset.verify()
        assert dataset.manifest.settings == TaskSettings(
            task="glass", split=split, seed=3, views=2, resolution=20, samples=samples, turn=90.0
        )
        assert dataset[1].spec.provenance.task == f"glass {split}"
    code, said, errors = run("--task=glass", "--split=test", *SMALL[:-1], f"--output={tmp_path / 'glass'}")
    assert (code, errors) == (0, "") and said.startswith("nothing to do: ")


@pytest.mark.parametrize("recorded", [False, True])
def test_what_one_machine_prepared_another_finds_in_their_store(monkeypatch, tmp_path, recorded):
    write_capture(tmp_path / "captures" / "scene", 2)
    of_captures = (f"--source={tmp_path / 'captures'}", "--layout=captures", "--views=2", "--resolution=24")
    of_scenes = ("--scenes=1", *SMALL[1:])
    arguments = ("--task=glass", "--split=test", *(of_captures if recorded else of_scenes))
    found = []
    for machine in ("one", "two"):
        monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / machine))
        code, said, errors = run(*arguments, f"--store=file://{tmp_path / 'store'}")
        assert code == 0, errors
        found.append((said.partition(":")[0].partition(" ")[0], content(tmp_path / machine)))
    (first, made), (second, fetched) = found
    assert (first, second) == ("wrote", "nothing")
    assert {name for name in made if "/test/dataset_00/" in name} and made == fetched


def test_a_folder_of_scans_is_rendered_and_a_bad_one_is_named(tmp_path):
    body = trimesh.load_mesh(scan(tmp_path / "one.ply"), process=False)
    both = trimesh.Scene([body, body.copy()])  # two parts are two objects, as many as the stand-in worker shows
    (tmp_path / "scans" / "0000").mkdir(parents=True)
    both.export(tmp_path / "scans" / "0000" / "0000.glb")
    (tmp_path / "scans" / "0001.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    arguments = ("--task=humans", "--split=test", f"--meshes={tmp_path / 'scans'}", *SMALL[1:])
    code, said, errors = run(*arguments, f"--output={tmp_path / 'out'}")
    assert code == 0, errors
    assert said.startswith("wrote 1 scenes × 2 views") and "1 scene(s) could not be rendered" in said
    [line] = [line for line in errors.splitlines() if "0001.obj" in line]
    assert "0001.obj has neither a picture nor colours" in line
    dataset = Dataset(tmp_path / "out" / "test" / "dataset_00")
    assert dataset.manifest.settings == TaskSettings(
        task="humans", split="test", seed=3, views=2, resolution=20, samples=16, turn=90.0,
        meshes=str(tmp_path / "scans"),
    )  # fmt: skip
    assert [failed.scene for failed in dataset.manifest.failed] == [1]


def test_bad_input_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    cases = [
        ((), "--task is missing: faces, humans, glass, heads"),
        (("--task=cats",), "--task must be faces, humans, glass or heads, got cats"),
        (("--task=glass", "--split=cross_domain"), "the task glass has no split cross_domain; it has train, test"),
        (("--task=glass", "--split=test", "--meshes=."), "--meshes=FOLDER goes with --task=humans and one --split"),
        (("--task=humans", "--meshes=."), "--meshes=FOLDER goes with --task=humans and one --split"),
        (("--task=humans", "--split=test", f"--meshes={tmp_path / 'empty'}"), "holds no meshes"),
        (("--task=humans", "--split=test", f"--meshes={tmp_path / 'none'}"), "there is no folder"),
    ]
    for arguments, message in cases:
        code, output, errors = run(f"--output={tmp_path / 'out'}", f"--blender={STAND_IN}", *arguments)
        assert (code, output) == (2, ""), arguments
        (line,) = errors.splitlines()
        assert message in line
    assert not (tmp_path / "out").exists()


def test_recordings_are_converted_and_say_what_they_lack(tmp_path):
    write_capture(tmp_path / "faces" / "scene", 2, poses=False)
    where = ("--task=faces", "--split=test", f"--source={tmp_path / 'faces'}", f"--output={tmp_path / 'out'}")
    code, said, errors = run(*where, "--layout=captures", "--views=2", "--resolution=24")
    assert code == 0, errors
    assert said.startswith("wrote 1 scenes × 2 views of 24×24 pixels, without poses, to be evaluated on depth to ")
    again = (*where, "--layout=captures", "--views=2", "--resolution=24")
    assert run(*again)[1].startswith("nothing to do: ")
    code, said, errors = run(*again[:-1], "--resolution=20")
    assert (code, said) == (2, "") and "was made with resolution=24, not 20" in errors
    assert run(*again[:-1], "--resolution=20", "--overwrite")[0] == 0
    for extra in ("--scenes=2", "--samples=2", "--meshes=.", "--workers=2", "--blender=x"):
        code, said, errors = run(*again, extra)
        assert (code, said) == (2, "") and extra.partition("=")[0] in errors and len(errors.splitlines()) == 1
    code, said, errors = run(*where)
    assert (code, said) == (2, "") and "--source=FOLDER goes with --layout and one --split" in errors


def test_bodies_of_another_seed_that_a_failed_run_left_are_replaced(monkeypatch, tmp_path):
    from experiments.tasks import bodies

    def write(path, made, _):
        path.parent.mkdir(parents=True)
        path.write_text(made)

    def check(path, made):
        assert path.read_text() == made

    monkeypatch.setattr(bodies, "_load", lambda: None)
    monkeypatch.setattr(bodies, "_make", lambda _, kind, number, seed: f"{kind} {number} {seed}")
    monkeypatch.setattr(bodies, "_write", write)
    monkeypatch.setattr(bodies, "_check", check)
    for seed in (0, 1, 1):
        paths = bodies.make_bodies(tmp_path / "meshes", "train", 2 + seed, seed)
        assert [path.read_text() for path in paths] == [f"train {number} {seed}" for number in range(2 + seed)]


def test_a_missing_extra_is_one_clear_line(monkeypatch, tmp_path):
    from experiments.tasks import bodies, face_pictures

    for name in ("anny", "warp"):  # the second comes with the first
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(InputError, match=r"anny is missing, which makes the bodies: pip install -e '.\[tasks\]'"):
        bodies.make_bodies(tmp_path, "train", 1, 0)
    with pytest.raises(InputError, match=r"scikit-image is missing: pip install -e '.\[tasks\]'"):
        face_pictures.photo()
