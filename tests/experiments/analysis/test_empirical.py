"""Halves, shuffled labels and held-out adapters, on adapters whose common part is planted."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.angles import measure_angles
from experiments.analysis.empirical import SPLITS, Comparison, compare_empirically, comparison_rows, comparison_summary
from experiments.analysis.resampling import deal, halves, mine_members, room
from experiments.analysis.specificity import (
    Inside,
    adapter_rows,
    captured_shares,
    energy,
    measure_specificity,
    part_rows,
    share_rows,
    shares_by_kind,
    whole_shares,
)
from experiments.mining.folder import read_inputs
from experiments.process.reporting import Reporter
from subspace import LowRank
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, write_run

NAMES = ("geometry", "texture", "camera")
SHAPES = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64), "camera_head.pose_branch.fc2": ((), 80, 48)}
K = 5


def _inputs(folder, kind):
    """Adapters that hold "own" subspaces, one "common" to all attributes, or "none"."""
    folders = []
    for i, name in enumerate(NAMES):
        shared = {"own": draw_subspaces(10 + i, shapes=SHAPES), "common": draw_subspaces(9, shapes=SHAPES), "none": {}}[
            kind
        ]
        adapters = draw_adapters(i, shared, k=K, private=0.3, shapes=SHAPES)
        folders.append(write_run(folder / kind / name, name, adapters))
    return read_inputs(folders)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {kind: _inputs(folder, kind) for kind in ("own", "common", "none")}


class Lines(Reporter):
    """Counts what a pipeline tells."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def info(self, line):
        self.count += 1


@pytest.fixture(scope="module")
def compared(inputs):
    lines = Lines()
    found = {
        kind: compare_empirically(each, measure_angles(each, 0), seed=1, reporter=lines)
        for kind, each in inputs.items()
    }
    assert lines.count == 3 * 2 * SPLITS
    return found


@pytest.mark.parametrize("side", ["output", "input"])
def test_halves_and_labels_tell_the_three_cases_apart(compared, side):
    own, common, none = (compared[kind].sides[side] for kind in ("own", "common", "none"))
    assert (
        own.same.shape == (SPLITS, 4, 3)
        and own.shuffled.shape == (SPLITS, 4, 3)
        and own.different.shape == (SPLITS, 4, 3)
    )
    # own subspaces: the same attribute overlaps, others do not, and shuffled labels would
    assert own.same.min() > 0.5 and own.different.max() < 0.2
    assert (own.shuffled.mean(axis=0) > own.actual).all()
    # one subspace for all: a label makes no difference, and nothing is orthogonal
    assert common.same.min() > 0.5 and common.different.min() > 0.5 and common.actual.min() > 0.5
    assert abs(common.shuffled.mean() - common.actual.mean()) < 0.05
    # nothing shared: not even the halves of one attribute overlap
    assert np.median(none.same / none.half_chance[:, None]) < 3
    assert abs(none.same.mean() - none.different.mean()) < 0.05


def test_summary_and_rows_of_the_comparison(compared):
    summary = {kind: {row.side: row for row in comparison_summary(found)} for kind, found in compared.items()}
    assert summary["own"]["output"].same_above_different == 1 == summary["own"]["output"].below_shuffled
    assert summary["none"]["output"].same_above_different < 1
    rows = comparison_rows(compared["own"])
    assert len(rows) == 2 * 4 * 4 * 3
    found = compared["own"].sides["input"]
    row = next(r for r in rows if (r.side, r.layer, r.comparison) == ("input", 1, Comparison.SHUFFLED))
    assert (row.overlap, row.lowest, row.highest) == pytest.approx(
        (found.shuffled[:, 1, 0].mean(), found.shuffled[:, 1, 0].min(), found.shuffled[:, 1, 0].max())
    )


@pytest.mark.parametrize("rounding", [1e-7, -1e-7])
def test_a_tie_is_neither_more_nor_less(compared, rounding):
    """With two outputs every subspace is the whole plane: all overlaps are 1, and rounding must not choose."""
    found = compared["own"]
    ones = {
        name: np.ones_like(getattr(found.sides["output"], name)) for name in ("same", "different", "shuffled", "actual")
    }
    tied = replace(
        found.sides["output"], **{**ones, "same": ones["same"] + rounding, "actual": ones["actual"] - rounding}
    )
    row = comparison_summary(replace(found, sides={"output": tied}))[0]
    assert (row.same_above_different, row.below_shuffled) == (0, 0)
    less = replace(tied, different=ones["different"] - 0.01, actual=ones["actual"] - 0.01)
    row = comparison_summary(replace(found, sides={"output": less}))[0]
    assert (row.same_above_different, row.below_shuffled) == (1, 1)


def test_a_seed_repeats_itself(inputs, compared):
    again = compare_empirically(inputs["own"], measure_angles(inputs["own"], 0), seed=1)
    np.testing.assert_array_equal(again.sides["output"].same, compared["own"].sides["output"].same)


def test_halves_are_disjoint_distinct_and_equal():
    rng = np.random.default_rng(0)
    for count, splits, expected in ((4, 3, 3), (2, 3, 1), (5, 6, 6), (10, 3, 3)):
        found = halves(count, splits, rng)
        assert len(found) == expected == len({frozenset((tuple(a), tuple(b))) for a, b in found})
        for first, second in found:
            assert len(first) == len(second) == count // 2 and not set(first) & set(second)
            assert set(first) | set(second) <= set(range(count))


def test_dealing_keeps_every_adapter():
    counts = {"geometry": 4, "texture": 6}
    dealt = deal(counts, np.random.default_rng(0))
    assert {name: len(members) for name, members in dealt.items()} == counts
    assert sorted(member for members in dealt.values() for member in members) == [
        (n, i) for n, c in counts.items() for i in range(c)
    ]


def test_all_members_give_the_stored_subspace(inputs):
    found = mine_members(inputs["own"], [("texture", i) for i in range(K)], room(inputs["own"], K))
    for path, stored in inputs["own"].attributes["texture"].factors.items():
        np.testing.assert_allclose(found[path].to_dense(), stored.to_dense(), atol=1e-4)


def test_captured_shares_equal_dense_projections():
    rng = np.random.default_rng(0)
    delta = LowRank(rng.standard_normal((2, 12, 3)), rng.standard_normal((2, 9, 3)))
    U, V = (np.linalg.qr(rng.standard_normal((2, size, 4)))[0] for size in (12, 9))
    root = np.sqrt([3, 2, 1, 0.1])
    found = captured_shares({"w": delta}, {"w": LowRank(U * root, V * root)})["w"]
    for layer in range(2):
        dW = delta.A[layer] @ delta.B[layer].T
        whole = np.linalg.norm(dW) ** 2
        expected = [U[layer].T @ dW @ V[layer], U[layer].T @ dW, dW @ V[layer]]
        np.testing.assert_allclose(found[layer], [np.linalg.norm(x) ** 2 / whole for x in expected], rtol=1e-10)
        assert energy(delta)[layer] == pytest.approx(whole)
    zero = LowRank(np.zeros((12, 3)), np.zeros((9, 3)))
    np.testing.assert_array_equal(captured_shares({"w": zero}, {"w": LowRank(U[0], V[0])})["w"], 0)


@pytest.fixture(scope="module")
def specific(inputs):
    lines = Lines()
    found = {kind: measure_specificity(each, lines) for kind, each in inputs.items()}
    assert lines.count == 3 * K
    return found


def test_held_out_adapters_lie_in_their_own_subspace(specific):
    own, common, none = (whole_shares(specific[kind]) for kind in ("own", "common", "none"))
    for i in range(3):
        others = [j for j in range(3) if j != i]
        assert own.mean[i, i, 0] > 0.5 and own.mean[i, others, 0].max() < 0.1
        assert abs(common.mean[i, i, 0] - common.mean[i, others, 0].mean()) < 0.01  # the own one has no disadvantage
        assert none.mean[i, i, 0] < 0.05
    np.testing.assert_array_equal(own.own_largest, np.full((3, 3), K))
    assert none.own_largest[:, Inside.BOTH].sum() < 3 * K


@pytest.mark.parametrize("rounding", [1e-8, -1e-8])
def test_an_adapter_that_lies_everywhere_lies_most_in_none(specific, rounding):
    found = specific["own"]
    everywhere = {name: np.ones_like(shares) for name, shares in found.shares.items()}
    for number, name in enumerate(NAMES):
        everywhere[name][:, :, number] += rounding
    np.testing.assert_array_equal(whole_shares(replace(found, shares=everywhere)).own_largest, 0)


def test_an_adapter_has_no_say_in_what_it_is_measured_by(specific, inputs):
    each = inputs["own"].attributes["geometry"]
    without = mine_members(inputs["own"], [("geometry", i) for i in range(K) if i != 2], room(inputs["own"], K - 1))
    adapter = each.read_adapter(2)
    expected = captured_shares(adapter, without)["aggregator.frame_blocks.attn.qkv"]
    np.testing.assert_allclose(specific["own"].shares["geometry"][2, :3, 0], expected, atol=1e-5)
    equally_many = mine_members(inputs["own"], [("camera", i) for i in range(K) if i != 2], room(inputs["own"], K - 1))
    of_others = captured_shares(adapter, equally_many)["camera_head.pose_branch.fc2"]
    np.testing.assert_allclose(specific["own"].shares["geometry"][2, 3, 2], of_others, atol=1e-6)


def test_shares_of_kinds_are_weighted_by_energy(specific):
    found = specific["own"]
    kinds, everything = shares_by_kind(found), whole_shares(found)
    assert list(kinds) == ["frame qkv", "camera head, other"]
    weights, shares = found.energies["texture"], found.shares["texture"]
    expected = (weights * shares[:, :, 2, 0]).sum(axis=1) / weights.sum(axis=1)
    assert everything.mean[1, 2, 0] == pytest.approx(expected.mean())
    assert everything.spread[1, 2, 0] == pytest.approx(expected.std())
    np.testing.assert_allclose(kinds["frame qkv"].chance[0], [16 / (96 * 64), 4 / 96, 4 / 64])
    np.testing.assert_allclose(
        kinds["camera head, other"].mean[0, :, 1], found.shares["geometry"][:, 3, :, 1].mean(axis=0)
    )


def test_rows_of_specificity(specific):
    everything = whole_shares(specific["own"])
    rows = share_rows(everything, list(NAMES))
    assert len(rows) == 3 * 3 * 3
    row = next(r for r in rows if (r.adapters_of, r.subspace_of, r.inside) == ("camera", "texture", Inside.INPUT))
    assert row.share == pytest.approx(everything.mean[2, 1, 2])
    of_adapters = adapter_rows(specific["own"])
    assert len(of_adapters) == 3 * K * 4 * 3
    row = next(
        r for r in of_adapters if (r.adapters_of, r.adapter, r.layer, r.subspace_of) == ("texture", 3, 2, "camera")
    )
    assert row.shares[Inside.OUTPUT] == specific["own"].shares["texture"][3, 2, 2, 1]
    assert row.energy == specific["own"].energies["texture"][3, 2]


@pytest.mark.parametrize("attribute", [None, "texture", "camera"])
def test_parts_of_the_model_by_side(specific, attribute):
    found = specific["own"]
    rows = {(row.part, row.inside): row for row in part_rows(found, attribute)}
    assert list(rows) == [(part, inside) for part in ("aggregator", "camera head") for inside in Inside]
    members = {"aggregator": slice(0, 3), "camera head": slice(3, 4)}
    chosen = [i for i, name in enumerate(found.names) if attribute in (None, name)]
    for (part, inside), row in rows.items():
        own, others, energies, largest = [], [], [], 0
        for i in chosen:
            name = found.names[i]
            for weights, shares in zip(found.energies[name], found.shares[name], strict=True):
                here, whole = weights[members[part]], weights.sum()
                inside_each = (here[:, None] * shares[members[part], :, inside]).sum(axis=0) / here.sum()
                own.append(inside_each[i])
                others += [inside_each[j] for j in range(3) if j != i]
                largest += np.argmax(inside_each) == i
                energies.append(here.sum() / whole)
        assert row.own == pytest.approx(np.mean(own)) and row.others == pytest.approx(np.mean(others))
        assert row.energy == pytest.approx(np.mean(energies)) and row.adapters_of == attribute
        assert (row.own_largest, row.adapters) == (largest, len(chosen) * K)
    for inside in Inside:
        assert sum(rows[part, inside].of_shared for part in members) == pytest.approx(1)


def test_chance_is_of_the_dimensions_that_the_others_can_span(tmp_path):
    """d' = 6 was asked for; two adapters of rank 2 span 4."""
    shapes = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64)}
    folders = [
        write_run(tmp_path / name, name, draw_adapters(seed, {}, k=3, rank=2, shapes=shapes), dim=6)
        for seed, name in enumerate(("texture", "camera"))
    ]
    found = whole_shares(measure_specificity(read_inputs(folders)))
    np.testing.assert_allclose(found.chance[0], [16 / (96 * 64), 4 / 96, 4 / 64])
    np.testing.assert_allclose(
        found.mean.mean(axis=(0, 1)), found.chance[0], rtol=0.25
    )  # the adapters have nothing in common
