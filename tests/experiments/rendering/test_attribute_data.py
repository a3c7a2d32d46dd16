"""Data sets in which one attribute varies: numbers of presets, what is found again, and textures that change."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from experiments.data import packing
from experiments.data.dataset import Dataset
from experiments.presets import PRESETS
from experiments.rendering import Settings, generate
from experiments.storage.identity import digest, identity
from subspace.errors import InputError
from tests.experiments.rendering.small_scenes import STAND_IN, content

SMALL = Settings(
    attribute="texture", datasets=1, scenes=4, views=2, resolution=20, samples=1, seed=3, blender=str(STAND_IN)
)


def paint(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("textures")
    for number in range(12):
        paint(folder / "textures" / f"{number}.png", number)
    settings = replace(SMALL, textures=folder / "textures", output=folder / "out")
    assert generate(settings).rendered == 4
    return settings


@pytest.fixture
def rendered(original):
    """A run with textures, in its place, as descriptions of scenes name them by absolute paths."""
    folder = original.output.parent
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    yield original
    shutil.rmtree(folder)
    kept.rename(folder)


def uses(settings, name):
    """Numbers of the scenes that show a texture."""
    specs = sorted(settings.output.glob("dataset_00/scene_*/spec.json"))
    return [number for number, spec in enumerate(specs) if f"textures/{name}" in spec.read_text()]


def again(settings, **changes):
    """Numbers of the scenes that another run rendered."""
    before = {path: path.stat().st_mtime_ns for path in settings.output.glob("*/*/record.json")}
    made = generate(replace(settings, **changes))
    now = sorted(settings.output.glob("*/*/record.json"))
    rendered = [int(path.parent.name[-4:]) for path in now if before.get(path) != path.stat().st_mtime_ns]
    for folder in made.datasets:
        Dataset(folder).verify()
    assert made.rendered == len(rendered)
    return rendered


def test_a_texture_that_is_painted_again_changes_the_scenes_that_show_it(rendered):
    assert again(rendered, blender="/no/blender") == []
    names = [path.name for path in sorted(rendered.textures.iterdir())]
    name = next(name for name in names if 0 < len(uses(rendered, name)) < rendered.scenes)
    paint(rendered.textures / name, 99)
    with pytest.raises(InputError, match="no program that can be run"):
        again(rendered, blender="/no/blender")
    assert again(rendered) == uses(rendered, name)
    assert again(rendered, blender="/no/blender") == []


def test_a_texture_that_joins_or_is_no_longer_decodable_is_noticed(rendered):
    paint(rendered.textures / "new.png", 100)
    assert again(rendered) != []  # others are drawn from thirteen
    shutil.copy(rendered.textures / "0.png", rendered.textures / "Thing_Displacement.png")
    assert again(rendered, blender="/no/blender") == []  # noticed, and of no effect
    (rendered.textures / "1.png").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"1\.png cannot be decoded"):
        again(rendered)


def test_a_packed_data_set_with_textures_is_finished_until_they_change(rendered):
    folder = rendered.output / "dataset_00"
    name = next(path.name for path in sorted(rendered.textures.iterdir()) if uses(rendered, path.name))
    inputs = (folder / "inputs.json").read_bytes()
    packing.replace(folder)
    assert (folder / "inputs.json").read_bytes() == inputs
    assert again(rendered, blender="/no/blender") == []
    (folder / "inputs.json").unlink()  # as earlier versions packed it
    assert again(rendered, blender="/no/blender") == []
    assert (folder / "inputs.json").read_bytes() == inputs
    paint(rendered.textures / name, 99)
    before = content(folder)
    with pytest.raises(InputError, match=r"dataset_00 is packed and not what is asked for"):
        again(rendered)
    assert content(folder) == before


def test_data_sets_that_are_not_asked_for_now_are_looked_at_when_they_are(rendered):
    assert again(rendered, datasets=2) == [0, 1, 2, 3]
    before = content(rendered.output / "dataset_01")
    for path in rendered.textures.iterdir():
        paint(path, 1000 + int(path.stem))
    assert again(rendered) != []
    assert content(rendered.output / "dataset_01") == before
    assert again(rendered, datasets=2) != []


def test_other_textures_are_refused_and_replace_what_is_there_if_that_is_asked_for(rendered, tmp_path):
    other = shutil.copytree(rendered.textures, tmp_path / "textures")
    for change in ({"textures": other}, {"textures": None}, {"seed": 4}):
        with pytest.raises(InputError, match=r"was made with .*; name another folder, or overwrite it"):
            again(rendered, **change)
    assert again(rendered, textures=None, overwrite=True) == [0, 1, 2, 3]
    assert again(rendered, textures=None, blender="/no/blender") == []
    assert not list(rendered.output.rglob("inputs.json"))


def test_textures_that_are_missing_leave_nothing(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*none"):
        generate(replace(SMALL, textures=tmp_path / "none", output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": 0}, "datasets must be at least 1, got 0"),
        ({"scenes": 0}, "scenes must be at least 1, got 0"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"views": 10_001}, "views must be at most 10000, got 10001"),
        ({"resolution": 13}, "resolution must be at least 14, got 13"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_numbers_that_are_too_small_are_named(change, message):
    with pytest.raises(InputError, match=message) as error:
        Settings.of("nano", **change)
    assert error.value.argument in change


@pytest.mark.parametrize("preset", PRESETS)
def test_numbers_and_names_of_a_preset(preset):
    settings = Settings.of(preset, attribute="camera", setting="micro_baseline", samples=16, store=Path("s"))
    sizes = PRESETS[preset].rendering
    assert (settings.datasets, settings.scenes) == (sizes.datasets["micro_baseline"], sizes.scenes)
    assert (settings.views, settings.resolution, settings.samples) == (sizes.views, sizes.resolution, 16)
    name = (
        f"camera_micro_baseline{'' if sizes.glass else '_opaque'}_{sizes.resolution}px_{sizes.views}views_16spp_seed0"
    )
    assert settings.folder == Path("s") / "data" / name
    elsewhere = replace(
        settings, store=Path("t"), output=Path("u"), workers=3, blender="b", verify=True, overwrite=True
    )
    assert digest(identity(elsewhere)) == digest(identity(settings))
    assert digest(identity(replace(settings, seed=1))) != digest(identity(settings))


def test_data_without_glass_lie_elsewhere_and_say_so():
    usual, opaque = Settings.of("nano"), Settings.of("nano", glass=False)
    assert "opaque" not in usual.label and opaque.label.startswith("geometry_object_centric_opaque_")
    assert b"glass" not in msgspec.json.encode(usual.stored) and opaque.stored.glass is False
    assert Settings.of("vggt_1b").stored.glass is False  # the paper mines without
