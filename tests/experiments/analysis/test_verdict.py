"""The verdict follows the numbers, and the words on top of the report follow the verdict."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.angles import Angles, SideAngles
from experiments.analysis.conditions import Condition
from experiments.analysis.controls import OverlapSummary
from experiments.analysis.empirical import Resampled, SideOverlaps
from experiments.analysis.matrices import Matrix
from experiments.analysis.overlap import Alignment
from experiments.analysis.specificity import Specificity
from experiments.analysis.verdict import UnderCondition, headline, judge, verdict_section

NAMES = ["geometry", "texture", "camera"]
PAIRS = list(itertools.combinations(NAMES, 2))
MATRICES = [Matrix("aggregator.frame_blocks.attn.qkv", layer, 96, 64, 4) for layer in range(4)]


def _angles(output, input_):
    """Every verdict the same on each side."""
    sides = {}
    for side, code in (("output", output), ("input", input_)):
        full = np.full((4, 3), 0.1)
        sides[side] = SideAngles([], full, full, np.full(4, 0.05), full, full, full, np.full((4, 3), code))
    return Angles(PAIRS, MATRICES, sides, {})


def _resampled(same, different, shuffled=0.2):
    def side(own):
        return SideOverlaps(
            same=np.full((2, 4, 3), own),
            different=np.full((2, 4, 3), different),
            shuffled=np.full((2, 4, 3), shuffled) if shuffled else np.zeros((0, 4, 3)),
            actual=np.full((4, 3), 0.1),
            half_chance=np.full(4, 0.05),
            chance=np.full(4, 0.05),
        )

    return Resampled(NAMES, PAIRS, MATRICES, dict.fromkeys(NAMES, 2), {"output": side(same[0]), "input": side(same[1])})


def _specificity(own, other):
    shares = {}
    for i, name in enumerate(NAMES):
        shares[name] = np.full((5, 4, 3, 3), other)
        shares[name][:, :, i] = own
    return Specificity(NAMES, MATRICES, shares, dict.fromkeys(NAMES, np.ones((5, 4))), np.full((4, 3), 0.01))


def _judge(output, input_, same=(0.5, 0.5), shuffled=0.2, own=0.3, other=0.02):
    return judge(_angles(output, input_), _resampled(same, 0.1, shuffled), _specificity(own, other))


def _figures(verdict):
    return [str(part) for part in verdict_section(verdict).text]


def test_each_side_is_compared_with_chance():
    output, input_ = judge(_angles(0, 1)).against_chance
    assert (output.side, output.mostly, output.times_chance) == ("output", Alignment.CHANCE, 2)
    assert (input_.side, input_.mostly) == ("input", Alignment.ALIGNED)
    assert output.shares == {Alignment.ALIGNED: 0, Alignment.CHANCE: 1, Alignment.ORTHOGONAL: 0}


def test_without_adapters_orthogonality_is_no_sign():
    verdict = judge(_angles(-1, -1))
    assert verdict.clear_sides is None and verdict.held_out is None and not verdict.controls
    assert "could not be tested" in headline(verdict)
    assert len(_figures(verdict)) == 2


@pytest.mark.parametrize(
    ("same", "sides"),
    [
        ((0.5, 0.5), ("output", "input")),
        ((0.5, 0.11), ("output",)),
        ((0.15, 0.5), ("input",)),
        ((0.15, 0.11), ()),
    ],
)
def test_an_attribute_must_overlap_with_itself(same, sides):
    verdict = _judge(-1, -1, same)
    assert verdict.clear_sides == sides
    assert ("means something here" in headline(verdict)) == (len(sides) == 2)
    assert (f"on the {(*sides, None)[0]} side only" in headline(verdict)) == (len(sides) == 1)
    assert ("means little here" in headline(verdict)) == (not sides)


def test_held_out_adapters_are_counted():
    found = _judge(-1, -1).held_out
    assert found is not None and (found.adapters, found.own_largest) == (15, 15)
    assert (found.own, found.others, found.chance) == pytest.approx((0.3, 0.02, 0.01))
    found = _judge(-1, -1, own=0.02, other=0.3).held_out
    assert found is not None and found.own_largest == 0


def test_the_words_hold_the_numbers():
    verdict = _judge(1, -1, same=(0.5, 0.4))
    top = headline(verdict)
    assert "aligned than random ones on the output side (100%" in top and "on the input side (100%" in top
    assert "Of 15 held-out adapters, 15 lie" in top and "\n" not in top and "  " not in top
    outputs, inputs, itself, labels, held_out = _figures(verdict)
    assert "100% of the pairs and matrices are more aligned" in outputs
    assert "0% like them, 100% more orthogonal; the median overlap is 2 times theirs." in inputs
    assert "outputs 0.5 against 0.1 (chance 0.05), more in 100% of the matrices; inputs 0.4 against 0.1" in itself
    assert "outputs 0.1 against 0.2, less in 100% of the matrices" in labels
    assert all(share in held_out for share in ("30.0%", "2.0%", "1.00%"))
    assert len(_figures(_judge(1, -1, shuffled=0))) == 4


def test_the_words_of_controls_hold_their_numbers():
    condition = Condition("independent", "shuffled")
    between = [
        OverlapSummary(condition, "output", 3, 1.5, 1.25, 0.4),
        OverlapSummary(condition, "input", 3, 2.5, 8, 7.0),
    ]
    under = UnderCondition(condition, 12, 9, 4, between, {"output": 3.0, "input": 2.0})
    verdict = replace(judge(_angles(0, 0)), controls=[under, replace(under, between=[])])
    assert (
        "With independent initialisation, shuffled targets, 4 of 12 spectra have a drop at r (in the runs 9), the overlap "
        "between attributes on the output side 1.2 times chance (in the runs 1.5), the overlap between attributes on the "
        "input side 8 times chance (in the runs 2.5). With independent"
    ) in headline(verdict)
    assert headline(verdict).endswith("(in the runs 9).")
    first, second = _figures(verdict)[2:]
    assert "is 40% of that of the runs on the output side; " in first and "is 7 times that of the runs on" in first
    assert "the output subspaces overlap 3 times as much" in second and "beyond chance" not in second
