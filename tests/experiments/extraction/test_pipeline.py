"""From settings to a folder of results, with planted adapters: where results lie, and what is never replaced."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.extraction import Settings, extract, extract_missing, load_subspace
from experiments.extraction.pipeline import ready
from experiments.mining.folder import read_folder
from experiments.presets import SMALL_MODEL
from experiments.storage import shared
from experiments.storage.files import hashes
from experiments.storage.results import RECORD
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.extraction.planted import FINGERPRINT, plant


@pytest.fixture
def made(monkeypatch, tmp_path):
    (tmp_path / "planted").mkdir()
    return plant(monkeypatch, tmp_path / "planted")


@pytest.fixture
def settings(tmp_path):
    return Settings.of("nano", k=2, rank=4, dim=2, store=tmp_path / "store")


OTHERS = [
    "--seed=1",
    "--dim=4",
    "--k=3",
    "--steps=7",
    "--weights=other",
    "--exponent=2",
    "--alpha=1.5",
    "--attribute=texture",
]


def test_results_of_other_settings_lie_elsewhere_and_replace_nothing(made, tmp_path):
    arguments = ["--k=2", "--rank=4", "--dim=2", f"--store={tmp_path}"]
    results = tmp_path / "extract"

    def folder(*others):
        done = call("experiments.extract", *arguments, *others)
        assert done.status == 0, done.stderr
        newest = (results / "latest").resolve()
        assert done.stdout.splitlines()[-1].startswith(f"wrote {newest} in ")
        return newest

    first = folder()
    before = hashes(first)
    folders = {first, *map(folder, OTHERS)}
    assert len(folders) == 1 + len(OTHERS) == len(made)
    assert hashes(first) == before
    assert (results / "geometry_object_centric_nano_r4-latest").exists()
    index = json.loads((results / "index.json").read_text())
    assert {entry["folder"] for entry in index} == {folder.name for folder in folders}


def test_equal_settings_find_their_own_results(made, settings):
    first = extract(settings)
    before = hashes(first.folder)
    again = extract(replace(settings, workers=7))
    assert first.folder == again.folder and hashes(first.folder) == before
    assert ready(settings).results.kept and not ready(replace(settings, seed=1)).results.kept
    assert not ready(replace(settings, overwrite=True)).results.kept
    for path, own in first.subspaces.items():
        np.testing.assert_array_equal(own.factors.A, again.subspaces[path].factors.A)


def test_what_one_machine_has_extracted_the_other_finds(made, settings, tmp_path, monkeypatch):
    address = f"file://{tmp_path}/shared"
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / "here"))
    first = extract(replace(settings, store=shared.opened(address)))
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / "there"))
    done = call("experiments.extract", "--k=2", "--rank=4", "--dim=2", f"--store={address}")
    assert done.status == 0 and "nothing to do" in done.stdout and len(made) == 1
    there = shared.opened(address) / "extract" / first.folder.name
    assert there != first.folder and hashes(there) == hashes(first.folder)
    read_folder(there)


def test_a_named_folder_is_replaced_only_on_request(made, settings, tmp_path):
    output = tmp_path / "out"
    extract(replace(settings, output=output))
    before = hashes(output)
    other = replace(settings, seed=1)
    with pytest.raises(InputError, match="seed: 0 there, 1 now") as error:
        extract(replace(other, output=output))
    assert error.value.argument == "overwrite" and hashes(output) == before and len(made) == 1
    assert extract(replace(other, output=output, overwrite=True)).folder == output and hashes(output) != before
    (output / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        extract(replace(settings, output=output, overwrite=True))
    assert (output / "notes.txt").read_text() == "mine"


def test_the_result_is_what_the_folder_holds(monkeypatch, settings, tmp_path):
    plant(monkeypatch, tmp_path, drawn=True)
    found = extract(replace(settings, init="shared", targets="shuffled"))
    assert found.folder.parent == settings.store / "extract"
    assert {path.name for path in found.folder.iterdir()} == {
        "subspace.safetensors", "adapters", "summary.json", "figures", "report.html", RECORD,
    }  # fmt: skip
    mined = read_folder(found.folder)
    assert mined.origin == found.origin == load_subspace(found.folder / "subspace.safetensors").origin
    assert (found.origin.base, found.origin.fingerprint) == (SMALL_MODEL, FINGERPRINT)
    assert (found.origin.init, found.origin.targets) == ("shared", "shuffled") and len(mined.adapter_files) == 2
    summary = json.loads((found.folder / "summary.json").read_text())
    assert [row["path"] for row in summary["matrices"]] == [row.path for row in found.matrices]
    assert summary["settings"]["training"]["rank"] == 4 and summary["settings"]["init"] == "shared"
    assert found.before is found.after is found.data is found.adapters is None and found.seconds > 0


def test_what_is_missing_is_extracted_once(made, settings):
    wanted = [settings, replace(settings, attribute="texture")]
    folders = extract_missing(wanted)
    assert [each.attribute for each in made] == ["geometry", "texture"]
    assert [read_folder(folder).attribute for folder in folders] == ["geometry", "texture"]
    assert extract_missing([*wanted, replace(settings, seed=3)])[:2] == folders and len(made) == 3


def test_adapters_to_train_need_a_base_model(made, settings):
    with pytest.raises(InputError, match="weights"):
        extract(replace(settings, weights=None))


@pytest.mark.parametrize(
    ("sizes", "argument"), [({"rank": 1000}, "rank"), ({"dim": 1000, "rank": 256}, "dim"), ({"k": 10**8}, "k")]
)
def test_sizes_that_no_model_or_machine_has_are_refused_before_anything_is_rendered(settings, sizes, argument):
    wanted = {"rank": 4, "k": 5} | sizes
    with pytest.raises(InputError) as error:
        extract(Settings.of("nano", store=settings.store, **wanted))
    assert error.value.argument == argument and not settings.store.exists()
