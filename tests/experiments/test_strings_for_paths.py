"""Settings from plain strings are those from paths, with the same identity; presets, methods and words that there are not."""

from dataclasses import fields
from pathlib import Path, PurePosixPath

import pytest

from experiments import (
    analysis,
    evaluation,
    extraction,
    finetuning,
    pretraining,
    reconstruction,
    rendering,
    reproduction,
    tasks,
)
from experiments.data.packing import pack
from experiments.evaluation import side_by_side
from experiments.evaluation.results import METRICS
from experiments.finetuning.methods.lora import LoRA
from experiments.finetuning.methods.subspace import Subspace
from experiments.loras.adding import AddSettings
from experiments.loras.merging import Merge
from experiments.loras.mining import MineSettings
from experiments.presets import PRESETS
from experiments.storage.identity import digest, identity
from subspace.errors import InputError
from weights_convert import read_config
from weights_convert.sources import SHIPPED


def tune(**given):
    return finetuning.Settings.of("nano", given.pop("method", LoRA(rank=4)), **{"data": "d", **given})


def subspace(**given):
    return Subspace.of(PRESETS["nano"], **given)


def render_task(**given):
    return tasks.Settings.of("nano", "humans", "test", **given)


def record(**given):
    return tasks.Recording.of(
        "nano", given.pop("layout", "captures"), given.pop("source", "c"), "glass", "train", **given
    )


PLACES = {"store": "s", "output": "o"}
MAKERS = [
    (rendering.Settings.of, {**PLACES, "textures": "t"}, {}),
    (render_task, {**PLACES, "meshes": "m"}, {}),
    (record, {**PLACES, "source": "c"}, {}),
    (extraction.Settings.of, {**PLACES, "outputs": "first"}, {"adapters": ["loras/a", "loras/b"]}),
    (analysis.Settings, PLACES, {"subspaces": ["a", "b"], "controls": "c"}),
    (tune, PLACES, {"data": "data/dataset_00", "validation": "v"}),
    (subspace, {}, {"subspaces": "runs/extract/a"}),
    (evaluation.Settings, {**PLACES, "predictions": "p"}, {"data": "data/dataset_00"}),
    (evaluation.Settings, {**PLACES, "adapter": __file__}, {"data": ["a", "b"]}),
    (side_by_side.Settings, {"data": "d", "output": "o"}, {"results": {"Ours": "a"}}),
    (reproduction.Settings, PLACES, {}),
    (pretraining.Settings, {**PLACES, "run": "r"}, {"data": "d", "also_evaluate": "e"}),
    (reconstruction.Settings, PLACES, {"images": "photos"}),
    (MineSettings, PLACES, {"adapters": ["a", "b"]}),
    (AddSettings, {**PLACES, "to": "t"}, {"adapter": "a"}),
]


def as_paths(value):
    """What the types of the fields ask for, without any conversion by them."""
    if isinstance(value, dict):
        return {name: Path(path) for name, path in value.items()}
    return tuple(map(Path, [value] if isinstance(value, str) else value))


@pytest.mark.parametrize(("make", "single", "several"), MAKERS)
def test_strings_are_as_good_as_paths(make, single, several):
    from_strings = make(**single, **several)
    texts = {name: several[name] for name in ("images", "adapter") if name in several}  # fields of strings
    others = {name: as_paths(value) for name, value in several.items() if name not in texts}
    from_paths = make(**{name: Path(path) for name, path in single.items()}, **texts, **others)
    assert from_strings == from_paths and repr(from_strings) == repr(from_paths)
    assert digest(identity(from_strings)) == digest(identity(from_paths))
    for name, path in single.items():
        assert getattr(from_strings, name) == Path(path)


@pytest.mark.parametrize("name", ["images", "weights"])
def test_a_path_is_as_good_as_a_string(name):
    given = {"images": "photos", "weights": "models/mine"}
    settings = reconstruction.Settings(**{**given, name: Path(given[name])})
    assert settings == reconstruction.Settings(**given) and identity(settings) == identity(
        reconstruction.Settings(**given)
    )


def test_results_are_compared_by_the_names_of_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [metric.name for metric in METRICS]
    for offset, folder in enumerate(("ev1", "ev3")):
        Path(folder).mkdir()
        rows = [",".join(["set", scene, *[str(i + offset)] * len(names)]) for i, scene in enumerate("abc")]
        (Path(folder) / "scenes.csv").write_text("\n".join([",".join(["dataset", "scene", *names]), *rows]))
    found = evaluation.compare("ev1", "ev3")
    assert found == evaluation.compare(Path("ev1"), Path("ev3") / "scenes.csv") and found.scenes == 3
    assert found.differences["accuracy"].test.mean == 1
    with pytest.raises(OSError, match="ev2"):
        evaluation.compare("ev1", "ev2")


def test_a_shipped_model_is_found_by_anything_that_is_a_path():
    assert read_config(PurePosixPath(SHIPPED / "nano")) == read_config("nano")


def test_patterns_are_not_split_into_letters():
    assert LoRA(rank=4, matrices="aggregator.*").matrices == ("aggregator.*",)
    assert reproduction.Settings(tables="s1").tables == ("s1",)
    with pytest.raises(InputError, match="two adapters"):
        extraction.Settings.of("nano", adapters="loras/lora_0")


@pytest.mark.parametrize(
    ("make", "argument", "given", "choice"),
    [
        (lambda: extraction.Settings.of("nano2"), "preset", "nano2", "vggt_1b"),
        (lambda: rendering.Settings.of("nano2"), "preset", "nano2", "vggt_1b"),
        (lambda: tasks.Settings.of("nano2", "glass", "test"), "preset", "nano2", "vggt_1b"),
        (lambda: tasks.Recording.of("nano2", "captures", "c", "glass", "test"), "preset", "nano2", "vggt_1b"),
        (lambda: finetuning.Settings.of("nano2", "lora", data="d"), "preset", "nano2", "vggt_1b"),
        (lambda: reproduction.Settings(preset="nano2"), "preset", "nano2", "vggt_1b"),
        (lambda: tune(method="lor"), "method", "lor", "pissa"),
        (lambda: tune(dtype="float16"), "dtype", "float16", "bfloat16"),
        (lambda: extraction.Settings.of("nano", dtype="float16"), "dtype", "float16", "bfloat16"),
        (lambda: extraction.Settings.of("nano", attribute="colour"), "attribute", "colour", "lighting"),
        (lambda: extraction.Settings.of("nano", setting="narrow"), "setting", "narrow", "wide_baseline"),
        (lambda: rendering.Settings.of("nano", attribute="colour"), "attribute", "colour", "lighting"),
        (lambda: rendering.Settings.of("nano", setting="narrow"), "setting", "narrow", "wide_baseline"),
        (lambda: tasks.Settings.of("nano", "cats", "test"), "task", "cats", "humans"),
        (lambda: tasks.Settings.of("nano", "glass", "all"), "split", "all", "train"),
        (lambda: render_task(up="x"), "up", "x", "z"),
        (lambda: record(layout="photos"), "layout", "photos", "clearpose"),
        (lambda: tasks.Conventions(axes="blender"), "axes", "blender", "opencv"),
        (lambda: subspace(subspaces="a", allocation="all"), "allocation", "all", "uniform"),
        (lambda: evaluation.Settings("d", mask="all"), "mask", "all", "valid"),
        (lambda: reconstruction.Settings("photos", mode="cut"), "mode", "cut", "crop"),
        (lambda: reproduction.Settings(tables=["2", "9"]), "tables", "9", "controls"),
        (lambda: pretraining.Settings("d", recipe="large"), "recipe", "large", "orbits"),
        (lambda: pretraining.Settings("d", without="data"), "without", "data", "stages"),
        (lambda: MineSettings(adapters=("a",), modules="all"), "modules", "all", "union"),
        (lambda: Merge(method="slerp"), "method", "slerp", "ties"),
        (lambda: pack("source", "output", "half"), "depth", "half", "rounded"),
    ],
)
def test_what_there_is_not_is_named_with_what_there_is(make, argument, given, choice):
    with pytest.raises(InputError) as error:
        make()
    line = str(error.value)
    assert error.value.argument == argument and "\n" not in line
    assert argument in line and given in line and choice in line


def test_no_documented_settings_are_left_out():
    """All that have a path among their fields, in the order of the API's page."""
    rooms = (rendering, tasks, extraction, analysis, finetuning, evaluation, reconstruction, pretraining, reproduction)
    kinds = [*(room.Settings for room in rooms), tasks.Recording]
    made = {type(make(**single, **several)) for make, single, several in MAKERS}
    assert set(kinds) <= made
    for make, single, several in MAKERS:
        paths = {each.name for each in fields(make(**single, **several)) if "Path" in str(each.type)}
        assert paths <= {*single, *several} | NOT_HERE.get(make, set())


NOT_HERE = {evaluation.Settings: {"adapter", "predictions"}, reproduction.Settings: {"data"}}
"""Two that exclude each other, both of which are given above; and one that must exist."""
