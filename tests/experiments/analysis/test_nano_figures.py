"""The figures of adapters that README and docs quote are those of docs/nano."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
SHARES = "Where does a held-out adapter lie?"
PARTS = ("aggregator", "camera head", "depth head")
SIDES = {"both": "both", "output": "outputs", "input": "inputs"}


def text_of(path):
    return re.sub(r"\s+", " ", (ROOT / path).read_text())


@pytest.fixture(scope="module")
def numbers():
    return json.loads((ROOT / "docs/nano/parts.json").read_text())


@pytest.fixture(scope="module")
def whole():
    rows = json.loads((ROOT / "docs/nano/analysis.json").read_text())[SHARES]
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


def of(numbers, part, side):
    (row,) = [row for row in numbers["parts"] if (row["part"], row["sides"]) == (part, side)]
    return row


@pytest.mark.parametrize("path", ["README.md", "docs/results/index.md", "docs/nano/README.md"])
def test_shares_of_whole_adapters(path, whole):
    text = text_of(path)
    for name, digits in (("own", 1), ("other", 1), ("chance", 2)):
        assert f"{100 * whole[name]:.{digits}f} %" in text, name


def test_parts_and_sides(numbers):
    page, results, readme = (text_of(path) for path in ("docs/nano/README.md", "docs/results/index.md", "README.md"))
    for part in PARTS:
        rows = {side: of(numbers, part, side) for side in SIDES}
        for side, words in SIDES.items():
            row = rows[side]
            assert (
                f"| {words} | {' | '.join(percent(row[name]) for name in ('in its own', 'in others', 'by chance'))} |"
                in page
            )
        own = " | ".join(percent(rows[side]["in its own"]) for side in SIDES)
        energy, shared = rows["both"]["share of the energy"], rows["both"]["of what lies in its own"]
        assert f"| {part} | {100 * energy:.0f} % | {own} | {100 * shared:.0f} % |" in results
    aggregator, head = ({side: of(numbers, part, side) for side in SIDES} for part in ("aggregator", "camera head"))
    shared = f"{100 * head['both']['of what lies in its own']:.0f} %"
    assert f"{shared} of that is the camera head" in readme and f"{shared} of that is camera head" in page
    own = [percent(aggregator[side]["in its own"]) for side in SIDES]
    assert f"it is {own[0]}, outputs {own[1]}, inputs {own[2]}" in readme


def test_what_an_adapter_keeps_of_its_first_input_factors(numbers):
    first = numbers["initial_factors"].values()
    for path in ("docs/nano/README.md", "docs/results/index.md"):
        text = text_of(path)
        for name in ("row_space", "energy"):
            found = [100 * each["aggregator"][name] for each in first]
            assert f"{min(found):.0f} to {max(found):.0f} %" in text
    page = text_of("docs/nano/README.md")
    moved = [100 * each["aggregator"]["moved"] for each in first]
    head = [100 * each["camera head"]["energy"] for each in first]
    assert f"move by {min(moved):.0f} to {max(moved):.0f} %" in page
    assert f"head that is {min(head):.0f} to {max(head):.0f} % of the energy" in page


def test_what_adapters_learn(numbers):
    page, start = text_of("docs/nano/README.md"), text_of("docs/index.md")
    for name, terms in numbers["held_out"].items():
        cells = [f"{before:.3f} → {after:.3f}" for before, after in terms.values()]
        assert f"| {name} | {' | '.join(cells)} |" in page
    geometry = numbers["held_out"]["geometry"]
    for term, words in (("loss_T", "translation falls"), ("loss_R", "of rotation"), ("loss_reg_depth", "of depth")):
        assert "{} from {:.3f} to {:.3f}".format(words, *geometry[term]) in start
