"""The figures of adapters that README and docs quote are those of docs/nano."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
SHARES, FIRST = "Where does a held-out adapter lie?", "What is left of the first draw?"
PARTS = ("aggregator", "camera head", "depth head")
SIDES = {"both": "both", "output": "outputs", "input": "inputs"}
PAGE, RESULTS, README = "docs/nano/README.md", "docs/results/index.md", "README.md"


def text_of(path):
    return re.sub(r"\s+", " ", (ROOT / path).read_text())


def stored(name):
    return json.loads((ROOT / "docs/nano" / name).read_text())


@pytest.fixture(scope="module")
def analysis():
    return stored("analysis.json")


def whole(rows):
    """Means over all matrices and both sides."""
    both = [row for row in rows if row["sides"] == "both"]
    own = [row for row in both if row["adapters of"] == row["subspace of"]]
    other = [row for row in both if row["adapters of"] != row["subspace of"]]
    return {
        "own": np.mean([row["share"] for row in own]),
        "other": np.mean([row["share"] for row in other]),
        "chance": np.mean([row["chance"] for row in own]),
    }


def percent(value):
    digits = 0 if value >= 0.0995 else 1 if value >= 0.001 else 2
    return f"{100 * value:.{digits}f} %"


def of(rows, part, side, attribute="all attributes"):
    (row,) = [row for row in rows if (row["part"], row["sides"], row["adapters of"]) == (part, side, attribute)]
    return row


@pytest.mark.parametrize("path", [README, RESULTS, PAGE])
def test_shares_of_whole_adapters(path, analysis):
    text, shares = text_of(path), whole(analysis[SHARES]["attributes"])
    for name, digits in (("own", 1), ("other", 1), ("chance", 2)):
        assert f"{100 * shares[name]:.{digits}f} %" in text, name


def test_shares_of_the_first_small_model():
    shares = whole(stored("analysis_of_nano.json")[SHARES])
    own, other, chance = f"{100 * shares['own']:.1f}", f"{100 * shares['other']:.1f}", f"{100 * shares['chance']:.2f}"
    page, results = text_of(PAGE), text_of(RESULTS)
    assert (
        f"an adapter had {own} % of its energy in its own subspace (chance {chance} %) and {other} % in another's"
        in page
    )
    assert f"nano says the same: {own} % against {chance} %" in results and f"(nano: {other} %)" in results
    (both,) = [
        row for row in stored("parts_of_nano.json")["parts"] if (row["part"], row["sides"]) == (PARTS[0], "both")
    ]
    mine, others = both["in its own"], both["in others"]
    assert (
        f"in the aggregator {percent(mine)} and {percent(others)}" in page and f"{mine / others:.2f} times then" in page
    )


def test_parts_and_sides(analysis):
    rows, (page, results, readme) = analysis[SHARES]["parts"], (text_of(path) for path in (PAGE, RESULTS, README))
    for part in PARTS:
        sides = {side: of(rows, part, side) for side in SIDES}
        for side, words in SIDES.items():
            row = sides[side]
            shares = " | ".join(percent(row[name]) for name in ("in its own", "in others", "by chance"))
            assert f"| {words} | {shares} | {row['own is largest']} of {row['adapters']} |" in page
        own = " | ".join(percent(sides[side]["in its own"]) for side in SIDES)
        energy, shared = sides["both"]["share of the energy"], sides["both"]["of what lies in its own"]
        assert f"| {part} | {100 * energy:.0f} % | {own} | {100 * shared:.0f} % |" in results
    aggregator, head = ({side: of(rows, part, side) for side in SIDES} for part in ("aggregator", "camera head"))
    shared = f"{100 * head['both']['of what lies in its own']:.0f} %"
    assert f"{shared} of that is the camera head" in readme and f"{shared} of that is camera head" in page
    own = [percent(aggregator[side]["in its own"]) for side in SIDES]
    assert f"it is {own[0]}, outputs {own[1]}, inputs {own[2]}" in readme
    both = aggregator["both"]
    assert f"{both['in its own'] / both['in others']:.2f} times as much now" in page
    assert f"In the aggregator alone {both['own is largest']} of {both['adapters']} are" in page


def test_the_trace_of_each_attribute(analysis):
    page, results, readme = (text_of(path) for path in (PAGE, RESULTS, README))
    for name in ("texture", "geometry", "camera", "lighting"):
        row = of(analysis[SHARES]["parts"], "aggregator", "both", name)
        own, others = f"{100 * row['in its own']:.1f}", f"{100 * row['in others']:.1f}"
        cells = []
        for part in ("aggregator", "depth head"):
            there = of(analysis[SHARES]["parts"], part, "both", name)
            shares = (f"{100 * there[share]:.1f} %" for share in ("in its own", "in others"))
            cells += [*shares, f"{there['own is largest']} of {there['adapters']}"]
        assert f"| {name} | {' | '.join(cells)} |" in page
        assert any(
            f"{own} {words} {others} %" in results for words in ("and", "% of its energy there in its own subspace and")
        )
        assert name not in ("camera", "geometry") or f"({own} against {others} %)" in readme


def test_what_an_adapter_keeps_of_its_first_input_factors(analysis):
    def span(part, name):
        found = [100 * row[name] for row in analysis[FIRST] if row["part"] == part]
        return f"{min(found):.0f} to {max(found):.0f} %"

    page = text_of(PAGE)
    for text in (page, text_of(RESULTS)):
        assert span("aggregator", "row space in the first factor") in text
        assert span("aggregator", "energy in the first factor") in text
    assert f"move by {span('aggregator', 'moved')}" in page
    assert f"head that is {span('camera head', 'energy in the first factor')} of the energy" in page


def test_what_adapters_learn():
    page, start, learned = text_of(PAGE), text_of("docs/index.md"), stored("learned.json")
    for name, terms in learned.items():
        cells = [f"{before:.3f} → {after:.3f}" for before, after in terms.values()]
        assert f"| {name} | {' | '.join(cells)} |" in page
    for term, words in (("loss_T", "translation falls"), ("loss_R", "of rotation"), ("loss_reg_depth", "of depth")):
        assert "{} from {:.3f} to {:.3f}".format(words, *learned["geometry"][term]) in start


def test_spectra_and_angles(analysis):
    page = text_of(PAGE)
    patterns = {
        name: sum(row[name] for row in analysis["Spectra"]["attributes"])
        for name in ("spectra", "at_rank", "beyond_rank", "two_drops", "none")
    }
    assert (
        "Of {spectra} spectra {at_rank} drop at r, {beyond_rank} later, {two_drops} twice, {none} not at all.".format(
            **patterns
        )
        in page
    )
    spans = []
    for side in ("output", "input"):
        found = [row["median distance (Eq. 4)"] for row in analysis["Angles between attributes"] if row["side"] == side]
        spans.append(f"{min(found):.2f}–{max(found):.2f} on the {side} side")
    assert f"Medians of pairs: {', '.join(spans)}." in page
    halves = next(row for row in analysis["Does an attribute overlap with itself?"] if row["side"] == "output")
    same, different = halves["halves of one attribute"], halves["halves of two attributes"]
    assert f"as much as halves of two (outputs, {same:.2f} and {different:.2f})" in page


MINED_FROM = {"lora": "LoRAs", "second_pass": "a second pass", "full": "full fine-tuning", "gradient": "one gradient"}


def row_of(minings, name, part, sides):
    (found,) = [row for row in minings[name]["parts"] if (row["part"], row["sides"]) == (part, sides)]
    return found


def number(share):
    return f"{100 * share:.{0 if share >= 0.0995 else 1 if share >= 0.01 else 2}f}"


def test_what_is_mined_from_other_updates():
    page, minings = text_of(PAGE), stored("minings.json")

    def cell(name, part, sides):
        row = row_of(minings, name, part, sides)
        return " · ".join(number(row[which]) for which in ("in its own", "in others", "by chance"))

    for name, words in MINED_FROM.items():
        both, inputs = (row_of(minings, name, "aggregator", sides) for sides in ("both", "input"))
        cells = [cell(name, "all", "both"), cell(name, "aggregator", "output"), cell(name, "aggregator", "input")]
        near = f"{both['own is largest']} of 20"
        if name == "second_pass":  # its outputs are the same for held-out adapters
            cells[:2], near = ["–", "given"], "–"
        line = [words, *cells, cell(name, "camera head", "input"), near, f"{inputs['own is largest']} of 20"]
        assert f"| {' | '.join(line)} |" in page
    for name, words in (("lora", "for LoRAs"), ("full", "for full fine-tuning"), ("gradient", "for gradients")):
        row = row_of(minings, name, "aggregator", "both")
        times = f"{row['in its own'] / row['in others']:.2f} times"
        assert f"{times} {words}" in page or f"{times} other {words}" in page
    share = {name: number(row_of(minings, name, "aggregator", "input")["in its own"]) for name in MINED_FROM}
    assert (
        f"they share {share['lora']} % where full fine-tuning shares {share['full']} %, a second pass {share['second_pass']} % "
        f"and gradients {share['gradient']} %" in page
    )
    readme = text_of(README)
    assert f"shares {share['full']} % of its inputs there, a second pass of LoRAs {share['second_pass']} %" in readme
    assert f"shares {share['full']} % of its inputs, LoRAs {share['lora']} %" in text_of(RESULTS)


def test_what_other_updates_learn():
    page, minings = text_of(PAGE), stored("minings.json")
    terms = ("translation", "rotation", "field of view", "depth")

    def errors(name):
        learned = minings[name]["learned"].values()
        return [f"{np.mean([each[term][1] for each in learned]):.3f}" for term in terms]

    first, second = errors("lora"), errors("second_pass")
    said = ", ".join(f"{term} {b} for {a}" for term, a, b in zip(terms, first, second, strict=True))
    assert f"(means of the four attributes: {said})" in page
    assert all(float(b) <= float(a) for a, b in zip(first, second, strict=True))
    *others, last = errors("full")
    assert f"Full fine-tuning comes to {', '.join(others)} and {last}." in page


@pytest.mark.parametrize(
    ("over", "mined", "steps"),
    [
        *(("adapters", mined, 800) for mined in (2, 3, 5, 7, 9)),
        *(("steps", 9, steps) for steps in (80, 160, 320, 480, 800)),
    ],
)
def test_curves_over_adapters_and_steps(over, mined, steps):
    page, found = text_of(PAGE), stored("curves.json")
    at = mined if over == "adapters" else steps

    def cell(part, sides):
        key = {"over": over, "at": at, "part": part, "sides": sides}
        (row,) = [row for row in found["curves"] if key.items() <= row.items()]
        shares = (100 * row[which] for which in ("in its own", "in others"))
        return " · ".join(f"{share:.{0 if share >= 9.95 else 1}f}" for share in shares)

    cells = [cell("aggregator", sides) for sides in SIDES] + [cell("camera head", "both")]
    first = [
        row["energy in the first factor"]
        for attribute in ("geometry", "camera")
        for row in found["first draw"]
        if (row["adapters of"], row["steps"], row["part"]) == (attribute, steps, "aggregator")
    ]
    kept = " · ".join(f"{100 * share:.0f}" for share in first) if mined == 9 else ""
    assert f"| {mined} | {steps} | {' | '.join(cells)} | {f'{kept} '.lstrip()}|" in page
    assert min(first) > 0.5
