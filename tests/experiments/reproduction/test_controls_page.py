"""What the page of results says of the controls is what their records say."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduction.claim_table import claim_table, p_value
from experiments.reproduction.claims import examine, examine_losses
from experiments.reproduction.crossed import crossed_test
from experiments.reproduction.labels import LOSS, row_label
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import figure, scene_means
from experiments.reproduction.rows import (
    CHAMFER,
    CONSTANT,
    CONTROL,
    CONTROLS,
    gradient,
    lora,
    mean,
    ours,
    pooled,
    psv,
    random,
    shuffled,
)
from tests.experiments.reproduction.pages import SCALE, line_of_row, of_row

ROOT = Path(__file__).parents[3]
SEEDS = (0, 1, 2, 3, 4, 5)
WORDS = "no one two three four five six seven eight nine ten".split()


@pytest.fixture(scope="module")
def records():
    folder = ROOT / "results" / "nano_2" / "records"
    return RecordFolder(make_plan(("controls",), SEEDS, SCALE, "each"), "nano_2 (acf2e0b42e61dd5f)", folder).found()


@pytest.fixture(scope="module")
def findings(records):
    return examine(SCALE, SEEDS, records, ["controls"], "each")


@pytest.fixture(scope="module")
def losses(records):
    return examine_losses(SCALE, SEEDS, records, ["controls"], "each")


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "results" / "index.md").read_text()


@pytest.fixture(scope="module")
def prose(page):
    return re.sub(r"\s+", " ", page)


@pytest.fixture(scope="module")
def readme():
    return re.sub(r"\s+", " ", (ROOT / "README.md").read_text())


def chamfer(record):
    """In cm."""
    return 100 * scene_means(record.tests["test"], CHAMFER)


def test_the_page_has_both_tables_of_claims(page, findings, losses):
    assert claim_table(findings, SCALE) in page
    assert claim_table(losses, SCALE, LOSS, "validation") in page


@pytest.mark.parametrize("row", CONTROLS.rows)
def test_the_page_has_every_row_that_was_run(row, records, page):
    line = line_of_row(row, CONTROLS, SEEDS, records, 100)
    assert f"| {row_label(row, CONTROLS, SCALE)} |" not in page if line is None else line in page


def test_how_many_comparisons_are_decided(findings, losses, prose):
    for found, words in ((findings, "comparisons"), (losses, "losses")):
        compared = [each for each in found if each.test is not None]
        decided = [each for each in compared if each.decided]
        assert {each.compared for each in compared} == {len(compared)}
        assert f"{'none' if not decided else WORDS[len(decided)]} of {len(compared)} {words}" in prose


def shares(finding):
    """Differences of the seeds in per cent of the second row."""
    return [100 * difference / finding.means[1] for difference in finding.by_seed]


def probability(finding):
    return f"(p = {p_value(finding.p)}, corrected {p_value(finding.corrected)})"


def the_one(findings, second):
    """The comparison of Ours with a row by the Chamfer distance, or by the loss."""
    (found,) = [
        each
        for each in findings
        if (each.claim.first, each.claim.second) == (ours(64), second) and each.metric in (CHAMFER, LOSS)
    ]
    return found


def test_what_is_said_of_a_constant_depth(records, prose):
    (constant,) = of_row(CONSTANT, CONTROLS, SEEDS, records).values()
    assert (
        f"One depth for all pixels of a scene, with the base model's cameras, has {chamfer(constant):.2f} cm" in prose
    )
    normals = [
        100 * np.mean([scene_means(each.tests["test"], "normal_consistency") for each in found.values()])
        for row in CONTROLS.rows
        if row.method and len(found := of_row(row, CONTROLS, SEEDS, records)) == len(SEEDS)
    ]
    own = 100 * scene_means(constant.tests["test"], "normal_consistency")
    assert f"those of every row, though: {own:.1f} %, where the best row has {max(normals):.1f}." in prose


def test_what_is_said_of_what_two_seeds_decided(findings, prose):
    (normals,) = [each for each in findings if each.claim.second == CONTROL and each.metric == "normal_consistency"]
    assert not normals.decided
    assert f"their differences reach from +{min(shares(normals)):.1f} to +{max(shares(normals)):.1f} %" in prose


def test_the_place_of_ours(records, prose, readme):
    means = {
        row: np.mean([chamfer(each) for each in of_row(row, CONTROLS, SEEDS, records).values()])
        for row in CONTROLS.rows
        if row.method and len(of_row(row, CONTROLS, SEEDS, records)) == len(SEEDS)
    }
    place = sorted(means, key=means.__getitem__).index(ours(64)) + 1
    assert place == 6 and f"Ours is the sixth of the {WORDS[len(means)]} rows" in prose
    assert f"by the Chamfer distance Ours is the sixth of {WORDS[len(means)]} rows" in readme


def test_what_is_said_of_one_gradient(findings, losses, prose, readme):
    distance, loss = the_one(findings, gradient(256)), the_one(losses, gradient(256))
    better, worse = ([share for share in shares(distance) if sign * share > 0] for sign in (1, -1))
    assert len(better) + len(worse) == len(SEEDS) and len(worse) == 1
    reach = (
        f"by {min(better):.1f} to {max(better):.1f} %, and worse with one, by {-worse[0]:.1f} % {probability(distance)}"
    )
    assert f"better than mined ones with {WORDS[len(better)]} of the {WORDS[len(SEEDS)]} seeds, {reach}" in prose
    assert f"did better with {WORDS[len(better)]} of six seeds" in readme
    lower = WORDS[sum(difference > 0 for difference in loss.by_seed)]
    assert f"Their loss is lower with {lower} of them {probability(loss)}" in prose
    unit, test = distance.means[1] / 100, distance.test
    interval = f"{test.low / unit:+.1f} to {test.high / unit:+.1f} %"
    assert f"of Ours is {distance.difference / unit:.1f} % larger ({interval}; {probability(distance)[1:]}" in readme
    compared = [each for each in findings if each.test is not None]
    assert f"none of {len(compared)} comparisons is decided" in readme and not any(each.decided for each in compared)


def test_what_is_said_of_what_is_mined(records, findings, prose):
    of_gradients = of_row(ours(64, updates="gradient"), CONTROLS, SEEDS, records)
    mined, task = (of_row(row, CONTROLS, SEEDS, records) for row in (ours(64), gradient(256)))
    each = [
        " and ".join(f"{chamfer(found[seed]):.2f}" for seed in of_gradients) for found in (of_gradients, mined, task)
    ]
    finding = the_one(findings, ours(64, updates="gradient"))
    said = f"has {WORDS[len(of_gradients)]} seeds: {each[0]} cm, where Ours has {each[1]} and the task's gradient {each[2]}"
    assert f"{said} {probability(finding)}" in prose
    others = [of_row(ours(64, updates=updates), CONTROLS, SEEDS, records) for updates in ("full", "second_pass")]
    assert [list(found) for found in others] == [[0], [0]]
    full, second, first = (chamfer(found[0]) for found in (*others, mined))
    assert f"in place of LoRAs, has {full:.2f}, a second pass {second:.2f}, where Ours has {first:.2f}" in prose
    assert max(full, second, chamfer(of_gradients[0])) < first
    losses = [found[0].validation["after"] for found in (of_gradients, mined, *others)]
    said = "gradients {:.3f}, Ours {:.3f}, full fine-tunings {:.3f}, second pass {:.3f}".format(*losses)
    assert f"the losses order them otherwise ({said})" in prose
    pooled_one = of_row(pooled(64), CONTROLS, SEEDS, records)[0]
    assert f"Pooled, which is mined from LoRAs too, has {chamfer(pooled_one):.2f} with the same seed" in prose
    renderings = [{found[0].data["train"] for found in group} for group in ([of_gradients, *others], [mined])]
    assert not renderings[0] & renderings[1]


def test_what_is_said_of_shuffled_attributes(findings, losses, prose):
    distance, loss = the_one(findings, shuffled(64)), the_one(losses, shuffled(64))
    assert min(distance.by_seed) > 0 > loss.difference
    worse = f"by {min(shares(distance)):.1f} to {max(shares(distance)):.1f} % {probability(distance)}"
    assert f"better than Ours with each of the {WORDS[len(SEEDS)]} seeds as well, {worse}" in prose
    assert f"Their loss is not (p = {p_value(loss.p)})" in prose


def test_what_is_said_of_the_lora_of_all_matrices(records, prose):
    """No claim: nobody asked before the figures were there."""
    mined, plain = (of_row(each, CONTROLS, SEEDS, records) for each in (ours(64), lora(16)))
    first, second = (
        np.array([[figure(scene, CHAMFER) for _, scene in sorted(found[seed].tests["test"].items())] for seed in SEEDS])
        for found in (plain, mined)
    )
    test, unit = crossed_test(first - second), second.mean() / 100
    interval = f"{test.low / unit:+.1f} to {test.high / unit:+.1f} %".replace("-", "−")
    assert f"is {-test.mean / unit:.1f} % better than Ours ({interval}; p = {p_value(test.p)}" in prose
    better = sum(chamfer(plain[seed]) < chamfer(mined[seed]) for seed in SEEDS)
    higher = sum(plain[seed].validation["after"] > mined[seed].validation["after"] for seed in SEEDS)
    assert f"better with {WORDS[better]} of the seeds, and its loss is higher with {WORDS[higher]}." in prose


def test_what_is_said_of_the_other_directions(findings, prose):
    found = [the_one(findings, row) for row in (psv(256), pooled(64))]
    found += [each for each in findings if each.claim.first == mean(64) and each.metric == CHAMFER]
    assert len(found) == 3 and {each.reading for each in found} == {"undecided"}
    ends = [100 * end / each.means[1] for each in found for end in (each.test.low, each.test.high)]
    assert f"lie between {min(ends):.1f} and +{max(ends):.1f} %".replace("-", "−") in prose


def test_what_is_said_of_random_directions(findings, prose):
    found = shares(the_one(findings, random(256)))
    better, worse = [-share for share in found if share < 0], [share for share in found if share > 0]
    said = f"Ours is better with {WORDS[len(better)]} of the seeds, by {min(better):.1f} to {max(better):.1f} %"
    assert f"{said}, and worse with {WORDS[len(worse)]}, by {min(worse):.1f} and {max(worse):.1f} %" in prose
