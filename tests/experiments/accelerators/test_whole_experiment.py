"""Hours, bytes and money of the paper's mining, computed again by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.accelerators import whole_experiment
from experiments.accelerators.chips import CHIPS
from experiments.accelerators.layouts import table
from experiments.accelerators.whole_experiment import CLUSTERS, markdown, step_seconds, takes
from subspace.errors import InputError
from tests.experiments.commands import call

PAGE = Path(__file__).parents[3] / "docs" / "cost.md"
BEGIN, END = "<!-- the tables, as `plan paper --table` makes them -->\n", "<!-- end of the tables -->"
SERVER = CLUSTERS[1]


def test_the_page_has_what_the_command_makes():
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0] == "".join(f"{line}\n" for line in markdown())


def test_the_papers_numbers():
    found = takes(SERVER)
    rows = [row for row in table() if row.chip == "h100" and not row.mesh and row.adapters == 1 and row.layout == 1]
    eight, sixteen = (
        next(row.seconds for row in rows if (row.sequences, row.views) == size) for size in ((4, 8), (2, 16))
    )
    seconds = (2 * eight + sixteen) / 3  # 4 views count as 8
    assert step_seconds(CHIPS["h100"]) == pytest.approx(seconds)
    assert found.pictures == 4 * 10 * 208 * 100
    assert found.core_hours == pytest.approx(found.pictures / 0.52 / 3600)
    assert found.chip_hours == pytest.approx(40 * 24_000 * seconds / 3600)
    assert found.training_hours == pytest.approx(found.chip_hours / 8)  # 40 adapters on 8 chips
    assert found.reading_cores == pytest.approx(8 * 32 / seconds * whole_experiment.READING_S)
    assert found.rendering_hours == pytest.approx(found.core_hours / (96 - found.reading_cores))
    assert found.money == pytest.approx(
        2.5 * found.chip_hours
        + 0.03 * (found.core_hours + found.reading_cores * found.training_hours)
        + 0.02 * found.data_bytes / 1e9
    )


def test_what_is_waited_for():
    assert takes(SERVER).slowest == "training"
    few = takes(replace(SERVER, cores=4))
    assert few.slowest == "rendering" and few.hours == few.rendering_hours


def test_models_share_pictures():
    one, ten = takes(SERVER), takes(SERVER, models=10)
    assert ten.pictures == one.pictures and ten.data_bytes == one.data_bytes
    assert ten.chip_hours == pytest.approx(10 * one.chip_hours)
    assert ten.result_bytes == pytest.approx(10 * one.result_bytes)
    assert takes(SERVER, attributes=8).pictures == 2 * one.pictures
    assert takes(replace(SERVER, chips=64)).training_hours == pytest.approx(one.chip_hours / 40)  # chips beyond 40 idle


def test_what_cannot_be(monkeypatch):
    with pytest.raises(InputError, match="v5e, 16 GB holds none of the steps"):
        takes(replace(SERVER, device="v5e"))
    monkeypatch.setattr(whole_experiment, "table", lambda: [row for row in table() if row.chip != "v5p"])
    with pytest.raises(InputError, match="v5p, 95 GB has no stored plans, only h100"):
        takes(replace(SERVER, device="v5p"))
    with pytest.raises(InputError, match="reading for 40 chips"):
        takes(replace(SERVER, chips=64, cores=4))


def test_the_command():
    done = call("experiments.plan", "paper", "--device=h100", "--chips=8", "--cores=96", "--price=2.5")
    assert done.status == 0 and "832,000 pictures" in done.stdout and "training is waited for" in done.stdout
    assert call("experiments.plan", "paper", "--table").stdout == "".join(f"{line}\n" for line in markdown())
    for wrong in (
        ["paper"],
        ["paper", "--device=v5e"],  # holds no step
        ["paper", "--device=h100", "--k=3"],
        ["extract", "--device=h100", "--cores=2"],
        ["extract"],
    ):
        done = call("experiments.plan", *wrong)
        assert done.status == 2 and len(done.stderr.strip().splitlines()) == 1, done
