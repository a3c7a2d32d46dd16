"""The results that are shipped are what their records say, and of the nano that is shipped."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from experiments.models import load_base
from experiments.presets import PRESETS
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import RateSearch, RunRecord, read, read_searches, run_files
from experiments.reproduction.results import PAGE, write_results
from experiments.reproduction.search import from_chosen
from tests.experiments.reproduction.planted import plan

RESULTS = Path(__file__).parents[3] / "results" / "nano"


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """The shipped records' tables and page, written again."""
    folder = tmp_path_factory.mktemp("nano")
    label = load_base("nano", 96, PRESETS["nano"].training).label
    shown, done = RecordFolder(plan("1"), label, RESULTS / "records").collected()
    command = re.search(r"by `(.+?)`", (RESULTS / PAGE).read_text())
    assert command is not None
    write_results(folder, shown, done, read_searches(RESULTS / "records"), command[1])
    return folder


def test_tables_and_page_are_those_of_the_records(remade):
    """After a change of how they look: python -m experiments.reproduce --table=1 with the shipped records."""
    made = {path.name: path.read_text() for path in remade.iterdir()}
    shipped = {path.name: path.read_text() for path in RESULTS.iterdir() if path.is_file()}
    assert made.keys() == shipped.keys()
    assert [name for name in made if made[name] != shipped[name]] == []


def test_every_run_has_the_rate_that_was_best_on_validation_scenes():
    folder = RESULTS / "records"
    chosen = {each.search: each.chosen for each in read_searches(folder)}
    records = [record for path in run_files(folder) if (record := read(path, RunRecord)) is not None]
    trained = [record for record in records if record.run.search is not None]
    assert len(trained) == 107
    for run in trained:
        rates = from_chosen(PRESETS["nano"].scale.rates, chosen[run.run.search])
        assert run.rate is not None
        assert {*run.given_up, run.rate} == set(rates[: len(run.given_up) + 1]), run.run
        assert run.validation["after"] < run.validation["before"], run.run


def test_records_are_written_as_they_were_read():
    paths = run_files(RESULTS / "records")
    paths += (RESULTS / "records").glob("rates_*.json")
    for path in paths:
        record = read(path, RateSearch if path.name.startswith("rates_") else RunRecord)
        assert json.loads(json.dumps(msgspec.to_builtins(record))) == json.loads(path.read_text()), path
