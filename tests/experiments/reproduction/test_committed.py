"""The results that are shipped are what their records say, and of the nano that is shipped."""

import re
from pathlib import Path

import pytest

from experiments.models import load_base
from experiments.presets import PRESETS
from experiments.reproduction.plan import variant
from experiments.reproduction.records import Record, read, read_searches
from experiments.reproduction.results import PAGE, write_results
from experiments.reproduction.scale import SCALES
from experiments.reproduction.schedule import Schedule
from experiments.reproduction.search import from_chosen
from tests.experiments.reproduction.planted import plan

RESULTS = Path(__file__).parents[3] / "results" / "nano"


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """The shipped records' tables and page, written again."""
    folder = tmp_path_factory.mktemp("nano")
    label = load_base("nano", 96, PRESETS["nano"].training).label
    schedule = Schedule(plan("1"), label, None, RESULTS / "records", lambda line: None)  # pyright: ignore[reportArgumentType]
    shown, done = schedule.collected()
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
    runs = [run for path in folder.glob("*_seed*.json") if (run := read(path, Record)) is not None]
    assert runs
    for run in runs:
        rates = from_chosen(
            SCALES["nano"].rates, chosen[run.run["task"], variant(run.run["method"], run.run["matrices"])]
        )
        assert run.rate is not None
        assert {*run.given_up, run.rate} == set(rates[: len(run.given_up) + 1]), run.run
        assert run.validation["after"] < run.validation["before"], run.run
