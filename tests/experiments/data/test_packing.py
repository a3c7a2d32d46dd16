"""A packed data set is the one that it was made from."""

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data import packing
from experiments.data.dataset import Dataset, Views
from experiments.data.packed import STEP, depth_of, log_of
from experiments.data.packing import pack, replace
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, VIEWS, make_scene


def generate(output, scenes=2, overwrite=False):
    return runs.generate(
        output, SETTINGS, 1, scenes, lambda: make_scene, lambda: LocalPool(COMMAND, 1), overwrite=overwrite
    )


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    output = tmp_path_factory.mktemp("datasets") / "out"
    generate(output)
    return output


@pytest.fixture(scope="module")
def source(rendered):
    return rendered / "dataset_00"


@pytest.fixture(scope="module")
def exact(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / "exact"
    pack(source, output)
    return output


def assert_same(one, other, leave_out=()):
    for field in dataclasses.fields(Views):
        if field.name not in leave_out:
            values, expected = getattr(other, field.name), getattr(one, field.name)
            assert values.dtype == expected.dtype
            np.testing.assert_array_equal(values, expected)


def test_a_packed_data_set_is_the_same(source, exact):
    before, after = Dataset(source), Dataset(exact)
    assert after.manifest.sha256 == before.manifest.sha256
    assert sorted(path.name for path in exact.iterdir()) == [
        "contact_sheet.png", "manifest.json", "scene_0000.zip", "scene_0001.zip"
    ]  # fmt: skip
    for scene, packed in zip(before, after, strict=True):
        assert packed.spec == scene.spec and packed.num_views == scene.num_views
        np.testing.assert_equal(packed.cameras(), scene.cameras())
        assert_same(scene.load(), packed.load())
        assert_same(scene.load([1, 0]), packed.load([1, 0]))
        for view in range(VIEWS):
            np.testing.assert_equal(vars(packed.observe(view)), vars(scene.observe(view)))
    after.verify()


def test_pictures_in_it_are_the_very_files(source, exact):
    with zipfile.ZipFile(exact / "scene_0000.zip") as archive:
        for path in sorted((source / "scene_0000" / "images").iterdir()):
            content = archive.read(f"images/{path.name}")
            assert content == path.read_bytes()
            Image.open(io.BytesIO(content)).verify()


def test_rounded_depth_is_near_and_another_data_set(source, tmp_path):
    pack(source, tmp_path / "rounded", "rounded")
    before, after = Dataset(source), Dataset(tmp_path / "rounded")
    assert after.manifest.sha256 != before.manifest.sha256
    one, other = before[0].load(), after[0].load()
    assert_same(one, other, leave_out={"depths"})
    np.testing.assert_allclose(other.depths, one.depths, rtol=1e-3)
    np.testing.assert_array_equal(other.depths == 0, one.depths == 0)
    with pytest.raises(InputError, match="rounded"):
        pack(tmp_path / "rounded", tmp_path / "again")


def test_rounding_is_within_half_a_step_from_a_nanometre_to_a_light_year():
    depth = np.append(np.geomspace(1e-9, 1e16, 100_000), 0).astype(np.float32)
    rounded = depth_of(log_of(depth))
    assert rounded.dtype == np.float32 and rounded[-1] == 0
    assert np.abs(rounded[:-1] / depth[:-1] - 1).max() <= np.expm1(STEP / 2) * 1.0001 < 1e-3
    with pytest.raises(InputError, match="too small or too large"):
        log_of(np.float32([1e-38]))


def test_packing_goes_on_where_it_stopped_and_is_the_same(source, exact, tmp_path, monkeypatch):
    output = tmp_path / "out"
    real, done = packing.pack_scene, []

    def stop(scene, *rest):
        if done:
            raise KeyboardInterrupt
        done.append(scene)
        real(scene, *rest)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(packing, "pack_scene", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(source, output)
    with pytest.raises(InputError, match="no finished data set"):
        Dataset(output)
    assert pack(source, output).written == 1
    assert pack(source, output).written == 0
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {
        path.name: path.read_bytes() for path in exact.iterdir()
    }


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_data_set_that_lost_a_scene_is_not_the_packed_one(rendered, tmp_path):
    sets = shutil.copytree(rendered, tmp_path / "sets")
    pack(sets / "dataset_00", tmp_path / "out")
    before = files_of(tmp_path / "out")
    generate(sets, scenes=1, overwrite=True)
    with pytest.raises(InputError, match=r"out holds 'scene_0001\.zip' of another data set; name another folder"):
        pack(sets / "dataset_00", tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_what_has_another_record_now_is_packed_again(source, tmp_path):
    folder, output = shutil.copytree(source, tmp_path / "set"), tmp_path / "out"
    pack(folder, output)
    edit(folder / "scene_0001" / "record.json", lambda record: record.update(seconds=99.0))  # rendered again, the same
    edit(folder / "manifest.json", lambda manifest: manifest["scenes"]["scene_0001"].update(seconds=99.0))
    assert pack(folder, output).written == 1
    assert Dataset(output)[1].read_file("record.json") == (folder / "scene_0001" / "record.json").read_bytes()
    (folder / "contact_sheet.png").write_bytes(b"other views")
    digest = hashlib.sha256(b"other views").hexdigest()
    edit(folder / "manifest.json", lambda manifest: manifest["files"].update({"contact_sheet.png": digest}))
    assert pack(folder, output).written == 0
    assert Dataset(output).manifest.scenes == Dataset(folder).manifest.scenes
    Dataset(output).verify()


def test_a_packed_data_set_in_the_place_of_another_is_complete(rendered, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(rendered, output)
    digest = Dataset(output / "dataset_00").manifest.sha256
    assert replace(output / "dataset_00").written == 2
    assert not (output / "dataset_00" / "scene_0000").exists() and len(list(output.iterdir())) == 2
    assert Dataset(output / "dataset_00").manifest.sha256 == digest
    assert replace(output / "dataset_00").written == 0
    assert generate(output).rendered == 0
    with pytest.raises(InputError, match="packed"):
        generate(output, scenes=3)
    (output / "dataset_00" / "scene_0001.zip").unlink()
    with pytest.raises(InputError, match="packed"):
        generate(output)


@pytest.mark.parametrize("mine", ["mask_editor.py", "notes/n.txt", "scene_0000/my_mask.png"])
def test_what_is_the_user_s_is_not_replaced(rendered, tmp_path, mine):
    folder = tmp_path / "dataset_00"
    shutil.copytree(rendered / "dataset_00", folder)
    (folder / mine).parent.mkdir(exist_ok=True)
    (folder / mine).write_text("mine")
    before = files_of(folder)
    with pytest.raises(InputError, match=f"would be replaced, and holds '{mine}'") as error:
        replace(folder)
    assert error.value.argument == "data" and files_of(folder) == before and [*tmp_path.iterdir()] == [folder]


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_may_be_the_current_folder(rendered, tmp_path, monkeypatch):
    folder = tmp_path / "dataset_00"
    shutil.copytree(rendered / "dataset_00", folder)
    monkeypatch.chdir(folder / "scene_0000")
    done = call("experiments.pack", "--data=..", f"--output={tmp_path / 'packed'}")
    assert done.status == 0, done.stderr
    assert (tmp_path / "packed" / "dataset_00" / "manifest.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"dataset_00", "packed"}
    monkeypatch.chdir(folder)
    assert replace(Path()).folder == folder and len(Dataset(folder)) == 2


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_damage_is_refused_by_name(exact, tmp_path, place):
    folder = tmp_path / "damaged"
    shutil.copytree(exact, folder)
    path = folder / "scene_0000.zip"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(place * len(content))])
    with pytest.raises(InputError, match="damaged"):
        Dataset(folder)[0].load()
    with pytest.raises(InputError, match=r"scene_0000.zip is damaged"):
        Dataset(folder).verify()


def test_a_changed_bit_of_depth_is_seen(exact, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(exact, folder)
    path = folder / "scene_0000.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("depth/c/0/0/0")
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        Dataset(folder)[0].observe(0)


def test_a_damaged_data_set_is_not_packed(source, tmp_path):
    shutil.copytree(source, tmp_path / "sets")
    image = tmp_path / "sets" / "scene_0001" / "images" / "000000.png"
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"000000\.png"):
        pack(tmp_path / "sets", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_command(source, tmp_path):
    done = call("experiments.pack", f"--data={source}", f"--output={tmp_path}/out")
    assert done.status == 0 and "kB a view" in done.stdout
    assert len(Dataset(tmp_path / "out" / "dataset_00")) == 2
    assert "nothing to do" in call("experiments.pack", f"--data={source}", f"--output={tmp_path}/out").stdout
    for wrong in (
        [],
        [f"--data={source}"],
        [f"--data={source},{source}", f"--output={tmp_path}/b"],
        [f"--data={source}", "--replace", f"--output={tmp_path}/b"],
        [f"--data={source}", f"--output={source.parent}"],
        [f"--data={source}", f"--output={tmp_path}/out", "--depth=rounded"],
        [f"--data={tmp_path}/none", f"--output={tmp_path}/b"],
    ):
        done = call("experiments.pack", *wrong)
        assert done.status == 2 and len(done.stderr.strip().splitlines()) == 1, done
