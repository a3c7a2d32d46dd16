"""The results that are shipped are what their records say, and of the small models that are shipped."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from experiments.presets import PRESETS
from experiments.reproduction import Settings, pipeline, reproduce
from experiments.reproduction.labels import row_label
from experiments.reproduction.records import RateSearch, RunRecord, read, read_searches, run_files
from experiments.reproduction.rows import TABLES
from experiments.reproduction.search import from_chosen
from subspace.errors import InputError

RESULTS = Path(__file__).parents[3] / "results"
ASKED = {
    "nano": Settings(tables=("1",), seeds=(0, 1, 2), weights="nano"),
    "nano_2": Settings(tables=("controls",), seeds=(0, 1, 2, 3, 4, 5), minings="each"),
    "nano_2_faces": Settings(tables=("1",), seeds=(0, 1, 2, 3), minings="each", validate_on="test"),
    "nano_2_bodies": Settings(tables=("4",), seeds=tuple(range(6)), minings="each", rates_for="row"),
}


class RunsNothing:
    """In place of the schedule: what has no record is left to be run."""

    def __init__(self, *_):
        pass

    def __call__(self, *_):
        return iter(())


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """Model → the shipped records' tables and page, written again."""

    def remake(name):
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(RESULTS / name / "records", folder / "records")
        command = re.search(r"by `(.+?)`", (RESULTS / name / "README.md").read_text())
        assert command is not None and name.startswith(ASKED[name].base_weights)
        return reproduce(replace(ASKED[name], store=folder / "store", output=folder), command=command[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Schedule", RunsNothing)
        return {name: remake(name) for name in ASKED}


@pytest.mark.parametrize("name", ASKED)
def test_tables_and_page_are_those_of_the_records(name, remade):
    """After a change of how they look: python -m experiments.reproduce --table=1 with the shipped records."""
    folder = remade[name].folder
    made = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    shipped = {path.name: path.read_text() for path in (RESULTS / name).iterdir() if path.is_file()}
    assert made.keys() == shipped.keys()
    assert [name for name in made if made[name] != shipped[name]] == []
    records = {path.name: path.read_bytes() for path in (folder / "records").iterdir()}
    assert records == {path.name: path.read_bytes() for path in (RESULTS / name / "records").iterdir()}


def test_results_are_typed(remade):
    found = remade["nano"]
    (table,) = found.tables
    assert table.table is TABLES["1"] and [line.row for line in table.lines] == list(TABLES["1"].rows)
    assert table.seeds == [0, 1, 2] and table.missing == table.fewer_seeds == 0
    text = (found.folder / "table_1.md").read_text()
    for line in table.lines:
        assert f"| {row_label(line.row, table.table, table.scale)} |" in text
        assert {record.run.task for record in line.records} == {"faces"}
    assert {finding.claim.table for finding in found.findings} == {"1"} and found.page.name == "README.md"
    assert len(found.records) == 113 and {table.name for table in found.shown.tables} == set(TABLES)


def test_a_page_that_is_not_of_records_is_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("my own")
    with pytest.raises(InputError, match=r"README\.md is there without records") as error:
        reproduce(Settings(output=tmp_path, weights=str(tmp_path / "nowhere")))
    assert error.value.argument == "overwrite" and page.read_text() == "my own" and [*tmp_path.iterdir()] == [page]


@pytest.mark.parametrize(
    ("name", "runs"), [("nano", 107), ("nano_2", 69), ("nano_2_faces", 52), ("nano_2_bodies", 127)]
)
def test_every_run_has_the_rate_that_was_best_on_validation_scenes(name, runs):
    folder = RESULTS / name / "records"
    chosen = {each.search: each.chosen for each in read_searches(folder)}
    records = [record for path in run_files(folder) if (record := read(path, RunRecord)) is not None]
    trained = [record for record in records if record.run.search is not None]
    assert len(trained) == runs
    for run in trained:
        search = run.run.own_search if ASKED[name].rates_for == "row" else run.run.search
        assert search is not None
        rates = from_chosen(PRESETS["nano"].scale.rates, chosen[search])
        assert run.rate is not None
        assert {*run.given_up, run.rate} == set(rates[: len(run.given_up) + 1]), run.run
        has_gained = run.validation["after"] < run.validation["before"]
        assert has_gained or (run.rate, len(run.given_up)) == (rates[-1], len(rates) - 1), run.run


@pytest.mark.parametrize("name", ASKED)
def test_records_are_written_as_they_were_read(name):
    paths = run_files(RESULTS / name / "records")
    paths += (RESULTS / name / "records").glob("rates_*.json")
    for path in paths:
        record = read(path, RateSearch if path.name.startswith("rates_") else RunRecord)
        assert json.loads(json.dumps(msgspec.to_builtins(record))) == json.loads(path.read_text()), path
