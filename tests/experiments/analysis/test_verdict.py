"""The words on top of the report follow the numbers."""

import itertools

import numpy as np
import pytest

from experiments.analysis.angles import Angles, SideAngles
from experiments.analysis.empirical import Comparison, SideComparison
from experiments.analysis.matrices import Matrix
from experiments.analysis.specificity import Specificity
from experiments.analysis.verdict import headline, verdict_topic

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


def _comparison(same, different, shuffled=0.2):
    def side(own):
        return SideComparison(
            same=np.full((2, 4, 3), own),
            different=np.full((2, 4, 3), different),
            shuffled=np.full((2, 4, 3), shuffled) if shuffled else np.zeros((0, 4, 3)),
            actual=np.full((4, 3), 0.1),
            half_chance=np.full(4, 0.05),
            chance=np.full(4, 0.05),
        )

    return Comparison(
        NAMES, PAIRS, MATRICES, dict.fromkeys(NAMES, 2), {"output": side(same[0]), "input": side(same[1])}
    )


def _specificity(own, other):
    shares = {}
    for i, name in enumerate(NAMES):
        shares[name] = np.full((5, 4, 3, 3), other)
        shares[name][:, :, i] = own
    return Specificity(NAMES, MATRICES, shares, dict.fromkeys(NAMES, np.ones((5, 4))), np.full((4, 3), 0.01))


def test_without_adapters_orthogonality_is_no_sign():
    words = headline(_angles(0, 1), None, None, None)
    assert "mostly as orthogonal as random ones on the output side (100% of the pairs and matrices)" in words
    assert "mostly more aligned than random ones on the input side" in words
    assert "could not be tested" in words


@pytest.mark.parametrize(
    ("same", "message"),
    [
        ((0.5, 0.5), "so that orthogonality means something here"),
        ((0.5, 0.11), "than with others on the output side only"),
        ((0.15, 0.5), "than with others on the input side only"),
        ((0.15, 0.11), "orthogonality between attributes means little here"),
    ],
)
def test_an_attribute_must_overlap_with_itself(same, message):
    assert message in headline(_angles(-1, -1), _comparison(same, 0.1), _specificity(0.3, 0.02), None)


def test_held_out_adapters_are_counted():
    assert "Of 15 held-out adapters, 15 lie more in their own" in headline(
        _angles(-1, -1), _comparison((0.5, 0.5), 0.1), _specificity(0.3, 0.02), None
    )
    assert "Of 15 held-out adapters, 0 lie more in their own" in headline(
        _angles(-1, -1), _comparison((0.5, 0.5), 0.1), _specificity(0.02, 0.3), None
    )


def test_the_figures_behind_it():
    topic = verdict_topic(_angles(1, -1), _comparison((0.5, 0.4), 0.1), _specificity(0.3, 0.02), None)
    text = [str(part) for part in topic.text]
    assert text[0].startswith("Chance, outputs: 100% of the pairs and matrices are more aligned")
    assert "0% like them, 100% more orthogonal; the median overlap is 2 times theirs" in text[1]
    assert "outputs 0.5 against 0.1 (chance 0.05), more in 100% of the matrices; inputs 0.4 against 0.1" in text[2]
    assert "outputs 0.1 against 0.2, less in 100% of the matrices" in text[3]
    assert (
        "have 30.0% of their energy in their own attribute's subspace on average, 2.0% in another's, and 1.00%"
        in text[4]
    )
    unshuffled = verdict_topic(_angles(1, -1), _comparison((0.5, 0.4), 0.1, shuffled=0), _specificity(0.3, 0.02), None)
    assert len(unshuffled.text) == 4
