"""Every figure of the tables that README and docs/results quote, made again from the shipped records."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.presets import PRESETS
from experiments.reproduction.claims import CLAIMS, examine, examine_losses
from experiments.reproduction.crossed import crossed_test
from experiments.reproduction.plan import make_plan, run_of
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import figure, scene_means
from experiments.reproduction.results import p_value
from experiments.reproduction.rows import BASE, CHAMFER, CONSTANT, CONTROL, FULL, TABLES, lora, ours, pissa
from experiments.reproduction.seed_effects import seed_effects
from experiments.reproduction.tables import measure, records_of

ROOT = Path(__file__).parents[3]
SCALE, SEEDS = PRESETS["nano"].scale, (0, 1, 2)
TABLE_LABELS = {
    "1": "1, faces", "2": "2, bodies", "3": "3, glass", "4": "4, singular vectors", "5": "5, mined rank", "s1": "S1, allocation"
}  # fmt: skip


def text_of(path):
    return re.sub(r"\s+", " ", (ROOT / path).read_text())


@pytest.fixture(scope="module")
def records():
    plan = make_plan(tuple(TABLES), SEEDS, SCALE)
    return RecordFolder(plan, "nano (d6754e313942048e)", ROOT / "results" / "nano" / "records").found()


@pytest.fixture(scope="module")
def findings(records):
    return examine(SCALE, SEEDS, records, list(TABLES))


@pytest.fixture
def page():
    return text_of("docs/results/index.md")


@pytest.fixture
def readme():
    return text_of("README.md")


def signed(value, digits=1):
    return f"{100 * value:+.{digits}f}".replace("-", "−")


class Quoted:
    """A comparison in the forms in which pages write it."""

    def __init__(self, finding):
        unit = abs(finding.means[1])
        self.share, self.p, self.corrected = finding.difference / unit, p_value(finding.p), p_value(finding.corrected)
        low, high = finding.test.low / unit, finding.test.high / unit
        self.interval = f"{signed(low)} to {signed(high)}"


def quoted(findings, table, first, second, split, metric):
    (found,) = [
        each
        for each in findings
        if (each.claim.table, each.claim.first, each.claim.second, each.split, each.metric)
        == (table, first, second, split, metric)
    ]
    return Quoted(found)


def means(records, table, row, metric, split="test", factor=100):
    found = records_of(row, TABLES[table], SCALE, SEEDS, records)
    return [factor * scene_means(record.tests[split], metric) for record in found]


def mean(*arguments, **more):
    return float(np.mean(means(*arguments, **more)))


def chosen(records, table, first, second, split, metric):
    """A comparison that is none of the claims."""
    values = []
    for row in (first, second):
        tests = [record.tests[split] for record in records_of(row, TABLES[table], SCALE, SEEDS, records)]
        values.append(np.array([[figure(test[name], metric) for name in sorted(test)] for test in tests]))
    return crossed_test(values[0] - values[1]), values[1].mean()


def test_how_many_comparisons_are_decided(findings, page, readme):
    counts = {name: [] for name in TABLES}
    for finding in findings:
        counts[finding.claim.table].append(finding.reading)
    for name, label in TABLE_LABELS.items():
        found = [
            sum(reading == each for reading in counts[name]) for each in ("holds", "opposite", "undecided", "one_seed")
        ]
        assert f"| {label} | {sum(found[:3])} | {' | '.join(map(str, found))} |" in page
    assert not any(finding.decided for finding in findings) and "**None of nano's is decided.**" in page
    for name, words in (("1", "none of the 36 is decided"), ("2", "none of 72 comparisons is decided")):
        assert words in readme and {each.compared for each in findings if each.claim.table == name} == {
            len(counts[name])
        }


def test_comparisons_next_to_a_decision_are_on_the_page(records, findings, page):
    splits = {"cross_domain": "cross-domain", "test": "test"}
    metrics = {"accuracy": "accuracy", "completeness": "completeness", "normal_consistency": "normals"}
    nearest = sorted((each for each in findings if each.p is not None and each.p < 0.05), key=lambda each: each.p)
    places = []
    for finding in nearest:
        each = Quoted(finding)
        rows = (finding.claim.first, finding.claim.second)
        used = [{record.rate for record in records_of(row, TABLES["2"], SCALE, SEEDS, records)} for row in rows]
        rates = " · ".join(dict.fromkeys(f"{rate:g}" for (rate,) in used))
        what = f"{splits[finding.split]}, {metrics[finding.metric]}"
        places.append(page.index(f"{what} | {signed(each.share)} % | {each.interval} | {each.p} | {rates} |"))
        assert finding.claim.table == "2" and each.corrected == "0.3"
    assert len(nearest) == 9 and places == sorted(places) and "before correction are nine of the 72" in page


def test_faces(records, findings, page, readme):
    acc = quoted(findings, "1", ours(16), lora(16), "test", "accuracy")
    assert (
        f"{signed(acc.share)[1:]} % better than that LoRA's (interval {acc.interval} %, p = {acc.p}, corrected {acc.corrected})"
        in page
    )
    assert (
        f"{signed(acc.share)[1:]} % in accuracy for ours (95 % interval {acc.interval} %; p = {acc.p}, corrected"
        in readme
    )
    assert f"36 comparisons {acc.corrected})" in readme
    heads = quoted(findings, "1", ours(16), CONTROL, "test", "accuracy")
    assert f"{signed(heads.share)[1:]} % better than the heads' LoRA alone ({heads.interval} %, p = {heads.p}" in page
    assert (
        f"(faces with nano, accuracy {signed(heads.share)} %, {heads.interval} %; p = {heads.p}, corrected {heads.corrected})"
        in readme
    )
    normals = [quoted(findings, "1", ours(16), row, "test", "normal_consistency") for row in (lora(16), CONTROL)]
    for each in normals:
        assert f"{signed(each.share)[1:]} %" in page and f"(p = {each.p}, corrected {each.corrected})" in page
    (found,) = [f for f in findings if f.claim == CLAIMS[0] and f.metric == "accuracy"]
    assert (
        f"a difference of {100 * found.test.detectable() / found.means[1]:.1f} % in accuracy would have been found"
        in page
    )
    trained = [row for row in TABLES["1"].rows if row.method]
    accuracy = [mean(records, "1", row, "accuracy", factor=1000) for row in trained]
    base = mean(records, "1", BASE, "accuracy", factor=1000)
    assert f"accuracy from {base:.2f} mm to between {min(accuracy):.2f} and {max(accuracy):.2f}" in page
    depth = [mean(records, "1", row, "abs_rel") for row in trained]
    assert (
        f"AbsRel from {mean(records, '1', BASE, 'abs_rel'):.2f} % to between {min(depth):.2f} and {max(depth):.2f}"
        in page
    )
    counts = {row: records[run_of(row, TABLES["1"], SCALE, 0)].parameters for row in (ours(16), lora(16), FULL)}
    assert f"{counts[ours(16)] / counts[FULL]:.0%}".replace("%", " %") + " of what full fine-tuning" in page
    assert f"{counts[ours(16)] / counts[lora(16)]:.0%}".replace("%", " %") + " of what the smallest LoRA" in page


def test_faces_and_a_constant_depth(records, page, readme):
    def best(metric, choose, factor):
        return choose(mean(records, "1", row, metric, factor=factor) for row in TABLES["1"].rows if row.method)

    constant, nano = (
        [
            mean(records, "1", row, name, factor=factor)
            for name, factor in (("accuracy", 1000), ("normal_consistency", 100))
        ]
        for row in (CONSTANT, BASE)
    )
    rows = best("accuracy", min, 1000), best("normal_consistency", max, 100)
    assert f"an accuracy of {constant[0]:.2f} mm and normals of {constant[1]:.1f} %, where" in page
    assert f"nano has {nano[0]:.2f} and {nano[1]:.1f} and the best rows have {rows[0]:.2f} and {rows[1]:.1f}." in page
    distances = [mean(records, "1", row, CHAMFER, factor=1000) for row in (CONSTANT, BASE)]
    least = best(CHAMFER, min, 1000)
    assert least == mean(records, "1", pissa(64), CHAMFER, factor=1000)
    assert f"has {distances[0]:.2f} mm, where its best row, PiSSA (rank=8), has {least:.2f}." in page
    assert f"it has {distances[0]:.2f} mm, nano {distances[1]:.2f}, the best row {least:.2f}." in readme


def test_bodies_and_glass_and_a_constant_depth(records, page):
    constant, nano = (
        [mean(records, "2", row, CHAMFER, split=split) for split in ("test", "cross_domain")]
        for row in (CONSTANT, BASE)
    )
    assert f"with nano's cameras, has {constant[0]:.2f} cm and {constant[1]:.2f} in the other domain" in page
    worth = [one - other for one, other in zip(constant, nano, strict=True)]
    accuracy = [mean(records, "2", row, "accuracy") for row in (CONSTANT, BASE)]
    nothing = f"and nothing in accuracy, {accuracy[0]:.2f} for nano's {accuracy[1]:.2f}."
    assert f"what nano sees of bodies is worth {worth[0]:.2f} and {worth[1]:.2f} cm, {nothing}" in page


def test_what_a_seed_changes(records, page):
    effects = {each.column.metric: each for each in seed_effects(measure(TABLES["1"], SCALE, SEEDS, records))}
    accuracy, completeness, normals = (effects[name] for name in ("accuracy", "completeness", "normal_consistency"))
    assert (
        f"correlation {accuracy.common:.2f} in accuracy, {completeness.common:.2f} in completeness, "
        f"{normals.common:.2f} in normals" in page
    )
    assert f"a row varies by {100 * accuracy.alone:.1f} % and the difference of two rows of the same seed by" in page
    assert f"by {100 * accuracy.apart:.1f} %. Comparisons are paired" in page
    plan = make_plan(("1",), (0, 1, 2, 3), SCALE, "each", validate_on="test")
    other = RecordFolder(plan, "nano_2 (acf2e0b42e61dd5f)", ROOT / "results" / "nano_2_faces" / "records").found()
    measured = measure(TABLES["1"], SCALE, plan.seeds, other, "each")
    (found,) = [each for each in seed_effects(measured) if each.column.metric == "accuracy"]
    assert f"with nano_2, below, it is {found.common:.2f} in accuracy)".replace("-", "−") in page
    bodies = next(each for each in seed_effects(measure(TABLES["2"], SCALE, SEEDS, records)))
    assert f"no seed is good for all (correlation {bodies.common:.2f})" in page


def test_bodies(records, findings, page, readme):
    trained = [row for row in TABLES["2"].rows if row.method]
    plain = [row for row in trained if row.method in ("full", "lora", "pissa") and row != CONTROL]
    accuracy, completeness = ([mean(records, "2", row, name) for row in plain] for name in ("accuracy", "completeness"))
    assert (
        f"accuracy from {mean(records, '2', BASE, 'accuracy'):.2f} cm to between {min(accuracy):.2f} and {max(accuracy):.2f}"
        in page
    )
    assert (
        f"completeness, {mean(records, '2', BASE, 'completeness'):.2f} cm to between {min(completeness):.2f} "
        f"and {max(completeness):.2f}" in page
    )
    chamfer = {row: mean(records, "2", row, "chamfer") for row in (BASE, lora(16), ours(16), FULL)}
    assert (
        f"nano {chamfer[BASE]:.2f} cm, LoRA (r = 2) {chamfer[lora(16)]:.2f}, ours (d = 2) {chamfer[ours(16)]:.2f}, "
        f"full {chamfer[FULL]:.2f}" in page
    )
    other = {row: mean(records, "2", row, "chamfer", split="cross_domain") for row in TABLES["2"].rows}
    assert f"nano has {other[BASE]:.2f}, and the best row {min(other.values()):.2f}" in page
    seeds = sorted(means(records, "2", lora(32), "completeness"))
    assert "{:.2f}, {:.2f} and {:.2f} cm".format(*seeds) in page
    every = [value for row in trained for value in means(records, "2", row, "completeness")]
    low, high = [value for value in every if value < 6.6], [value for value in every if value > 7]
    assert (
        f"Of the {len(every)} fine-tunings {len(low)} are at {max(low):.2f} cm or below, "
        f"{len(high)} at {min(high):.2f} or above" in page
    )
    by_rate = {}
    for row in trained:
        for record in records_of(row, TABLES["2"], SCALE, SEEDS, records):
            found = [100 * scene_means(record.tests["test"], metric) for metric in ("accuracy", "completeness")]
            by_rate.setdefault(record.rate, []).append(found)
    fast, slow = (np.mean(by_rate[rate], axis=0) for rate in (0.0125, 0.0025))
    assert (
        f"the {len(by_rate[0.0125])} fine-tunings at 0.0125 have {fast[0]:.2f} and {fast[1]:.2f} cm on average, "
        f"the {len(by_rate[0.0025])} at 0.0025 have {slow[0]:.2f} and {slow[1]:.2f}" in page
    )
    halves = [quoted(findings, "2", ours(64), FULL, "test", name) for name in ("completeness", "accuracy")]
    for each, words in zip(halves, ("better than full fine-tuning in completeness", "worse in accuracy"), strict=True):
        assert f"{abs(100 * each.share):.0f} % {words} ({each.interval} %; p = {each.p}" in readme
    assert f"corrected for 72 {halves[0].corrected})" in readme and f"{halves[1].p}, {halves[1].corrected})" in readme


def test_comparisons_that_the_paper_does_not_ask(records, page):
    for split, words in (("test", "an {} % smaller Chamfer distance"), ("cross_domain", "{} % in the other domain")):
        found, unit = chosen(records, "2", ours(16), FULL, split, "chamfer")
        assert words.format(f"{-100 * found.mean / unit:.1f}") in page
        interval = f"{-100 * found.high / unit:.1f} to {-100 * found.low / unit:.1f} %".replace("-", "−")
        assert f"{interval}, p = {p_value(found.p)})" in page


def test_the_control(records, findings, page):
    each = quoted(findings, "4", ours(16), CONTROL, "test", "completeness")
    assert (
        f"(−{abs(100 * each.share):.1f} %, interval {each.interval} %, p = {each.p}, corrected {each.corrected})"
        in page
    )
    losses = examine_losses(SCALE, SEEDS, records, list(TABLES))
    (loss,) = [
        each for each in losses if (each.claim.table, each.claim.first, each.claim.second) == ("4", ours(16), CONTROL)
    ]
    assert max(loss.by_seed) < 0 and not any(each.decided for each in losses)
    said = f"lower with each seed (−{-loss.difference:.3f}, p = {p_value(loss.p)}, corrected for all losses of nano's tables"
    assert f"{said} {p_value(loss.corrected)})" in page


def test_glass(records, page):
    level = {row: mean(records, "3", row, CHAMFER) for row in TABLES["3"].rows}
    assert (
        f"far off (a Chamfer distance of {level[BASE]:.1f} cm), full fine-tuning comes to {level[FULL]:.1f}, "
        f"LoRA r = 2 to {level[lora(16)]:.1f}" in page
    )
    mined = ours(64, part="blocks")
    assert f"ours to {level[mined]:.1f} with as many parameters, the heads alone to {level[CONTROL]:.1f}" in page
    assert f"A constant depth with nano's cameras has {level[CONSTANT]:.1f} cm." in page
    pruned = [level[row] for row in TABLES["3"].rows if row.method == "adalora"]
    assert f"AdaLoRA ({min(pruned):.1f} to {max(pruned):.1f} cm) and LoRA r = 16 ({level[lora(128)]:.1f} cm)" in page


def test_seed_0_is_the_worst_of_three(records, page):
    distances = means(records, "2", ours(64), CHAMFER)
    assert distances[0] == max(distances) and "but with seed 0, whose Ours (d = 8) is the worst of three." in page


def test_rates_that_are_compared(records, page):
    used = {
        name: {records[run_of(row, TABLES["4"], SCALE, 0)].rate for row in TABLES["4"].rows if row.method == name}
        for name in ("subspace", "psv")
    }
    assert used == {"subspace": {0.0025}, "psv": {0.0125}} and "compare a rate of 0.0025 with one of 0.0125" in page
