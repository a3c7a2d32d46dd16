"""The tables of claims on the pages are those of the shipped records, with the figures of each finding."""

import re
from pathlib import Path

import pytest

from experiments.presets import PRESETS
from experiments.reproduction.claim_table import claim_table, p_value
from experiments.reproduction.claims import examine
from experiments.reproduction.labels import row_label
from experiments.reproduction.plan import make_plan, run_of
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import CHAMFER, CONTROLS, TABLES, ours
from experiments.reproduction.tables import records_of

ROOT = Path(__file__).parents[3]
SCALE, SEEDS = PRESETS["nano"].scale, (0, 1, 2)


@pytest.fixture(scope="module")
def findings():
    folder = ROOT / "results" / "nano" / "records"
    records = RecordFolder(make_plan(tuple(TABLES), SEEDS, SCALE), "nano (d6754e313942048e)", folder).found()
    return examine(SCALE, SEEDS, records, list(TABLES))


@pytest.fixture(scope="module")
def controls():
    folder = ROOT / "results" / "nano_2" / "records"
    return RecordFolder(make_plan(("controls",), (0, 1), SCALE, "each"), "nano_2 (acf2e0b42e61dd5f)", folder).found()


def test_the_page_has_the_table_of_the_records(findings):
    assert claim_table(findings, SCALE) in (ROOT / "docs" / "nano" / "README.md").read_text()


def test_the_page_has_the_controls_of_the_records(controls):
    page = (ROOT / "docs" / "results" / "index.md").read_text()
    assert claim_table(examine(SCALE, (0, 1), controls, ["controls"], "each"), SCALE) in page
    for row in CONTROLS.rows:
        found = {each.run.seed: each for each in records_of(row, CONTROLS, SCALE, (0, 1), controls, "each")}
        chamfer = {seed: f"{100 * scene_means(each.tests['test'], CHAMFER):.2f}" for seed, each in found.items()}
        label, figures = row_label(row, CONTROLS, SCALE), [chamfer.get(seed, "–") for seed in (0, 1)]
        trained = [f"{each.parameters:,} | {each.rate:g}" for each in found.values() if each.rate is not None] or [
            "– | –"
        ]
        assert not found or f"| {label} | {trained[0]} | {' | '.join(figures)} |" in page, label


def test_what_the_page_says_of_the_controls(controls):
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "results" / "index.md").read_text())
    found = examine(SCALE, (0, 1), controls, ["controls"], "each")
    compared = [each for each in found if each.test is not None]
    (decided,) = [each for each in compared if each.decided]
    assert f"one of {len(compared)} comparisons is decided: normals" in page and decided.metric == "normal_consistency"
    unit = decided.means[1] / 100
    assert decided.test is not None
    low, high = decided.test.low / unit, decided.test.high / unit
    figures = f"(+{decided.difference / unit:.1f} %, interval +{low:.1f} to +{high:.1f}, p = {p_value(decided.p)}"
    assert f"{figures}, corrected {p_value(decided.corrected)})" in page
    (gradients,) = [each for each in found if each.claim.second.method == "gradient" and each.metric == CHAMFER]
    mined = [
        scene_means(controls[run_of(ours(64), CONTROLS, SCALE, seed, "each")].tests["test"], CHAMFER) for seed in (0, 1)
    ]
    worse = [100 * difference / level for difference, level in zip(gradients.by_seed, mined, strict=True)]
    assert "did better than mined ones in both (by {:.1f} and {:.1f} % of the distance)".format(*worse) in page


def test_a_line_says_what_its_finding_says(findings):
    table = claim_table(findings, SCALE, "accuracy", "cross_domain").splitlines()
    chosen = [each for each in findings if (each.metric, each.split) == ("accuracy", "cross_domain")]
    assert len(table) == 2 + 2 + len(chosen) and table[0].startswith("Acc ")
    for line, each in zip(table[4:], chosen, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == each.claim.words and int(cells[-1]) == len(each.by_seed)
        assert (cells[3] == "one seed") == (each.test is None) == (cells[5] == "–")
        assert float(cells[4].rstrip("%").replace("−", "-")) == pytest.approx(
            100 * each.difference / each.means[1], abs=0.051
        )
