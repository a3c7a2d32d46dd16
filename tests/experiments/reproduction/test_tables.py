"""Tables of planted records: means, spread, marks, units, and what is missing."""

import csv
import io
from copy import deepcopy

import numpy as np
import pytest

from experiments.reproduction.claims import examine
from experiments.reproduction.plan import run_of
from experiments.reproduction.rows import BASE, CONSTANT, CONTROL, FULL, HALVES, TABLES, lora, ours
from experiments.reproduction.tables import csv_of, latex, markdown, measure
from tests.experiments.reproduction.planted import plan, record

MEAN = 1 + np.mean(np.arange(12)) / 100
LEVELS = {BASE: 0.03, FULL: 0.01, lora(16): 0.02}


def measured(levels=LEVELS, seeds=(0,), name="2", **more):
    wanted = plan(name, seeds=seeds)
    records = {}
    for row in TABLES[name].rows:
        for seed in seeds if row in levels else ():
            run = run_of(row, TABLES[name], wanted.scale, seed)
            records[run] = record(run, levels[row], **more)
    return measure(TABLES[name], wanted.scale, seeds, records)


def cells(text, label):
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_figures_are_means_over_scenes_in_the_columns_unit_beside_the_papers():
    text = markdown(measured())
    heading = text.splitlines()[0]
    assert "test Acc ↓ (cm)" in heading and "cross-domain NC ↑ (%)" in heading
    row = cells(text, "VGGT")
    assert row[4] == f"{100 * 0.03 * MEAN:.2f}" and row[1] == row[2] == row[3] == "–"
    assert row[-9:] == ["VGGT", "2.816", "1.911", "2.364", "91.51", "3.103", "2.122", "2.612", "92.81"]
    assert cells(text, "LoRA (rank=2)")[1:4] == ["1,000", "1.0", "0.001"]
    assert cells(text, "Ours (d=8)")[1:12] == ["–"] * 11


def test_a_control_has_no_figures_of_the_paper():
    found = measured({BASE: 0.03, CONTROL: 0.02})
    row = cells(markdown(found), "Heads alone (rank=2)")
    assert row[4] == f"**{100 * 0.02 * MEAN:.2f}**" and row[-9:] == ["–"] * 9
    assert "Heads alone (rank=2) & 1,000 & " in latex(found)
    ours = [line for line in csv.DictReader(io.StringIO(csv_of(found))) if line["method"] == "Heads alone (rank=2)"]
    assert len(ours) == 8 and {line["paper's row"] for line in ours} == {""}


def test_best_and_second_best_are_marked_by_what_is_better():
    text = markdown(measured())
    full, lora, base = cells(text, "Full"), cells(text, "LoRA (rank=2)"), cells(text, "VGGT")
    assert full[4].startswith("**") and lora[4].startswith("<u>") and not base[4].startswith(("**", "<u>"))
    assert base[7].startswith("**") and lora[7].startswith("<u>")  # normal consistency: larger is better


def test_a_single_method_is_not_called_best():
    assert "**" not in markdown(measured({FULL: 0.01}))


def test_beside_a_mean_are_the_smallest_and_largest_seed():
    found = measured({lora(16): 0.02}, seeds=(0, 1, 2), noise=0.1)
    means = [100 * np.mean([scene["accuracy"] for scene in r.tests["test"].values()]) for r in found.lines[3].records]
    assert cells(markdown(found), "LoRA (rank=2)")[4] == f"{np.mean(means):.2f} [{min(means):.2f}, {max(means):.2f}]"


def test_rows_with_some_of_the_seeds_are_counted():
    wanted = plan("4", seeds=(0, 1))
    few, many = TABLES["4"].rows[0], TABLES["4"].rows[-1]
    runs = [run_of(few, TABLES["4"], wanted.scale, 0), *(run_of(many, TABLES["4"], wanted.scale, s) for s in (0, 1))]
    found = measure(TABLES["4"], wanted.scale, (0, 1), {run: record(run, 0.1) for run in runs})
    assert (found.fewer_seeds, found.missing) == (1, len(TABLES["4"].rows) - 2)
    for column in found.columns:  # the one row with both seeds cannot be best of one
        assert found.ranking(column) == {}
    assert measured(seeds=(0, 1)).fewer_seeds == 0  # the base model needs no second seed
    assert found.scenes == {"test": 12, "cross_domain": 12} and measured({}).scenes == {}


def test_latex_has_a_line_for_each_row_and_escapes():
    text = latex(measured(name="1"))
    lines = text.splitlines()
    columns = lines[0].count("r") - 1 + 1
    assert lines[0].startswith(r"\begin{tabular}{l") and lines[-1] == r"\end{tabular}"
    body = [line for line in lines if line.endswith(r"\\")]
    assert len(body) == len(TABLES["1"].rows) + 1
    assert len({line.count(" & ") for line in body}) == 1 and columns > 1
    assert r"\%" in text and "↓" not in text and r"\textbf{" in text


@pytest.mark.parametrize("name", TABLES)
def test_the_csv_holds_every_figure_and_the_papers(name):
    found = measured({TABLES[name].rows[0]: 0.5}, name=name)
    rows = list(csv.DictReader(io.StringIO(csv_of(found))))
    ours = [row for row in rows if row["seed"] == "0"]
    assert len(ours) == len(found.columns)
    assert all(float(row["mean over scenes"]) == pytest.approx(0.5 * MEAN, rel=1e-5) for row in ours)
    printed_rows = sum(row not in (CONSTANT, CONTROL) for row in TABLES[name].rows)
    assert len(rows) - len(ours) == printed_rows * len(found.columns)


def test_what_was_not_measured_is_a_dash_and_takes_no_part_in_what_is_best():
    wanted, records = plan("2"), {}
    for row, level in {**LEVELS, ours(64): 0.015}.items():
        run = run_of(row, TABLES["2"], wanted.scale, 0)
        records[run] = deepcopy(record(run, level))
        records[run].tests["test"] = {
            scene: {name: value for name, value in figures.items() if name not in HALVES or scene != "scene_0000"}
            for scene, figures in records[run].tests["test"].items()
        }
    found = measure(TABLES["2"], wanted.scale, (0,), records)
    full = cells(markdown(found), "Full")
    assert full[4:7] == ["–"] * 3 and full[7] != "–" and full[8].startswith("**")
    assert " & -- & -- & -- & " in latex(found)
    lines = [line for line in csv.DictReader(io.StringIO(csv_of(found))) if line["method"] == "Full"]
    assert [line["metric"] for line in lines if line["test set"] == "test" and line["seed"] == "0"] == [
        "normal_consistency"
    ]
    metrics = {(each.split, each.metric) for each in examine(wanted.scale, (0,), records, ["2"])}
    assert ("test", "chamfer") not in metrics and ("cross_domain", "chamfer") in metrics


def test_seeds_that_train_other_numbers_of_parameters_say_so():
    table, scale = TABLES["2"], plan("2").scale
    runs = [run_of(lora(16), table, scale, seed) for seed in (0, 1)]
    records = {run: record(run, 1.0, parameters=number) for run, number in zip(runs, (1_300, 1_200), strict=True)}
    assert cells(markdown(measure(table, scale, (0, 1), records)), "LoRA (rank=2)")[1] == "1,200 to 1,300"
