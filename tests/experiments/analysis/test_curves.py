"""Curves end where the report's own figures are, and early adapters are found by their step."""

import shutil

import pytest

from experiments.analysis import Settings, analyze
from experiments.analysis.curves import measure_curves
from experiments.analysis.curves_section import curves_section
from experiments.analysis.pipeline import ready
from experiments.analysis.specificity import measure_specificity, part_rows
from experiments.mining.folder import SNAPSHOTS, read_inputs, snapshot_folder
from subspace.errors import InputError
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, write_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs")
    return [
        write_run(made / name, name, draw_adapters(seed, draw_subspaces(seed)), init="independent")
        for seed, name in enumerate(("texture", "camera"))
    ]


@pytest.mark.slow
def test_curves_over_adapters_and_steps(folders):
    before = measure_curves(read_inputs(folders))
    assert {(point.over, point.at) for point in before} == {("adapters", 2), ("adapters", 3)}
    whole = part_rows(measure_specificity(read_inputs(folders)))
    assert [point.row for point in before if point.at == 3] == whole
    for folder in folders:  # the adapters of step 20 are the last ones; those of step 30 are not complete
        shutil.copytree(folder / "adapters", folder / SNAPSHOTS / snapshot_folder(20))
        shutil.copytree(folder / "adapters", folder / SNAPSHOTS / snapshot_folder(30))
        next((folder / SNAPSHOTS / snapshot_folder(30)).iterdir()).unlink()
    after = measure_curves(read_inputs(folders))
    assert [point.row for point in after if point.over == "steps"] == whole
    assert {point.at for point in after if point.over == "steps"} == {20}
    settings = Settings(tuple(folders), curves=True, store=folders[0].parent)
    with_both = ready(settings).results.path
    shutil.rmtree(folders[0] / SNAPSHOTS / snapshot_folder(20))
    assert ready(settings).results.path != with_both  # another step is other work
    section = curves_section(after)
    assert len(section.sheets["curves"].rows) == len(after) and section.figures.keys() == {"curves"}


def test_too_few_adapters_for_a_curve_are_refused(tmp_path):
    few = [
        write_run(tmp_path / name, name, draw_adapters(seed, draw_subspaces(seed), k=2))
        for seed, name in enumerate(("texture", "camera"))
    ]
    with pytest.raises(InputError, match="curves need folders that hold three adapters") as error:
        analyze(Settings(tuple(few), curves=True, store=tmp_path))
    assert error.value.argument == "curves"
