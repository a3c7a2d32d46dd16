"""How many numbers each method trains at VGGT-1B's size: the totals that the paper prints, from settings alone."""

from math import prod
from pathlib import Path

import numpy as np
import pytest

from experiments.finetuning.methods import METHODS
from experiments.finetuning.methods.adalora import AdaLoRA
from experiments.finetuning.methods.full import Full
from experiments.finetuning.methods.lora import LoRA
from experiments.finetuning.methods.psv import PSV
from experiments.finetuning.methods.subspace import Subspace
from experiments.presets import PRESETS
from vggt_jax import VGGTConfig
from vggt_jax.parameters import adaptable_matrices

CONFIG = VGGTConfig.vggt_1b()
BLOCKS = ("aggregator.*",)
FOUR = tuple(map(Path, ("texture", "geometry", "camera", "lighting")))


def of(method, **given):
    return METHODS[method].of(PRESETS["vggt_1b"], **given)


@pytest.mark.parametrize(
    ("method", "total"),
    [
        (Full(), 853_558_516),
        (LoRA(rank=16), 16_336_192),
        (of("pissa", rank=16), 16_336_192),
        (AdaLoRA(rank=1, target_rank=1), 932_070),
        (of("psv", dim=16), 3_814_630),
        (of("subspace", subspaces=FOUR, dim=4), 3_814_630),
        (of("subspace", subspaces=FOUR, dim=8), 3_998_182),
        (of("subspace", subspaces=FOUR, dim=16), 4_729_318),
        (of("subspace", subspaces=FOUR, dim=32), 7_653_862),
        (of("subspace", subspaces=FOUR, dim=64), 19_302_886),
        (of("subspace", subspaces=FOUR, dim=64, matrices=BLOCKS), 16_336_192),
        (LoRA(rank=16, matrices=BLOCKS), 2 * 6_291_456),
        (PSV(dim=16, plain=None), 3_814_630 - 3_753_280),
    ],
    ids=str,
)
def test_totals_of_the_paper(method, total):
    assert method.count(CONFIG).total == total


def test_the_papers_adalora_trains_a_constant_more():
    """Table 3 prints 15.0, 29.9, 59.7 and 119.4 M for r = 16 to 128, each within 0.05 M of what was trained.

    Counts that are proportional to r, as those of every AdaLoRA are (its factors, its Λ, and the larger rank it starts
    with), cannot round to all four. Ours, (n + m + 1) on the 212 linear layers, do with one constant beside them.
    """
    ranks, printed = np.array([16, 32, 64, 128]), np.array([15.0, 29.9, 59.7, 119.4]) * 1e6
    low, high = printed - 0.05e6, printed + 0.05e6
    assert (low / ranks).max() > (high / ranks).min()
    ours = np.array([AdaLoRA(rank=int(rank), target_rank=1).count(CONFIG).total for rank in ranks])
    linear = [m for m in adaptable_matrices(CONFIG).values() if m.conv is None]
    assert sum(prod(m.stack) for m in linear) == 212
    np.testing.assert_array_equal(ours, ranks * sum(prod(m.stack) * (m.n + m.m + 1) for m in linear))
    assert ((low - ours).max(), (high - ours).min()) == (45_040, 97_520)


def test_parts_of_the_model_are_counted_for_themselves():
    assert LoRA(rank=16).count(CONFIG).parts == {
        "aggregator.frame_blocks": 6_291_456,
        "aggregator.global_blocks": 6_291_456,
        "camera_head": 2_326_816,
        "depth_head": 1_426_464,
    }


def test_a_pattern_of_nothing_is_named():
    for method in (LoRA(rank=1, matrices=("point_head.*",)), Full(matrices=("point_head.*",))):
        with pytest.raises(ValueError, match=r"matches point_head\.\*; names are like"):
            method.count(VGGTConfig.nano())


def test_all_that_was_mined_is_counted(tmp_path):
    from tests.experiments.finetuning import small

    folders = tuple(small.subspace_folder(tmp_path / name, name, 0, dim=3) for name in ("texture", "camera"))
    found = Subspace(subspaces=folders, plain=None).count(small.tiny.CONFIG)
    assert found == PSV(dim=6, plain=None).count(small.tiny.CONFIG)
