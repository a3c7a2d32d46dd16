"""What LoRAs have in common by their headers and numbers, and what is left out."""

import numpy as np
import pytest

from experiments.loras.collection import collect
from experiments.loras.similarity import compare
from subspace.errors import InputError
from tests.experiments.loras.made import SHAPES, factors, write


def _dense(made, scale=1.0):
    return {name: scale * up.astype(np.float64) @ down for name, (up, down) in made.items()}


def test_ranks_are_padded_exactly_and_layers_are_the_intersection_or_the_union(tmp_path):
    made = [factors(0), factors(1, rank=2), {name: x for name, x in factors(2).items() if "down" not in name}]
    places = [write(tmp_path / f"lora_{i}", each, alpha=6) for i, each in enumerate(made)]
    found = collect(places)
    assert list(found.owners) == ["model.layers.0.q_proj", "model.layers.1.q_proj"]
    assert any("only some LoRAs have" in remark and "down_proj" in remark for remark in found.remarks)
    stack = found.stacks["model.layers.0.q_proj"]
    assert stack.A.shape == (3, 24, 3) and found.stacks.layouts["model.layers.0.q_proj"].rank == 3
    for i, each in enumerate(made):
        expected = _dense(each, 6 / each["model.layers.0.q_proj"][0].shape[1])["model.layers.0.q_proj"]
        np.testing.assert_allclose(stack.A[i] @ stack.B[i].T, expected, atol=1e-4)
        assert found.norms[f"lora_{i}"]["model.layers.0.q_proj"] == pytest.approx(np.linalg.norm(expected), rel=1e-6)
    union = collect(places, modules="union")
    assert union.stacks.layouts["model.layers.0.down_proj"].k == 2 and len(union.owners) == 3


def test_loras_that_share_few_matrices_are_compared_in_these(tmp_path):
    q, v, alone = ("model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.0.down_proj")
    first, own = factors(0, common=0), factors(1, common=0)
    zero = {name: (np.zeros_like(up), down) for name, (up, down) in factors(2).items()}
    parts = {
        "a": {q: first[q], v: first[v]},
        "b": {q: first[q]},  # a part of a
        "c": {v: first[v]},  # another
        "d": {alone: own[alone]},  # shares nothing
        "e": {q: zero[q], v: own[v], alone: own[alone]},  # zero in what it shares with b
    }
    places = [write(tmp_path / name, each) for name, each in parts.items()]
    found = collect(places, modules="union")
    assert list(found.loras) == list(parts)
    cosine = compare(found).cosine
    expected = np.eye(5)
    for pair, value in (("ab", 1), ("ac", 1), ("de", 1)):
        i, j = ("abcde".index(name) for name in pair)
        expected[i, j] = expected[j, i] = value
    dense = {name: _dense(each) for name, each in parts.items()}
    for pair, paths in (("ae", (q, v)), ("ce", (v,))):
        x, y = (np.concatenate([dense[name][path].ravel() for path in paths]) for name in pair)
        i, j = ("abcde".index(name) for name in pair)
        expected[i, j] = expected[j, i] = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    np.testing.assert_allclose(cosine, expected, atol=1e-5)

    without = collect(places[:4], modules="union")
    assert list(without.loras) == ["a", "b", "c"] and "model.layers.0.down_proj" not in without.owners
    assert any(remark.endswith("trained in no matrix that counts, left out: d") for remark in without.remarks)
    common = collect([places[0], places[1], places[4]])  # e is zero in q, which all three have
    assert list(common.loras) == ["a", "b"] and list(common.owners) == [q]
    with pytest.raises(InputError, match="no two of the 2 LoRAs are trained in a matrix that they have in common"):
        collect([places[1], places[4]])


def test_untrained_equal_and_equally_begun_loras_are_named(tmp_path):
    zero = {name: (np.zeros_like(up), down) for name, (up, down) in factors(5).items()}
    start = factors(0, common=0)
    same_start = {name: (factors(3)[name][0], down) for name, (_, down) in start.items()}
    made = {"a": start, "b": same_start, "c": factors(1, common=0), "c_again": factors(1, common=0), "zero": zero}
    places = [write(tmp_path / name, each) for name, each in made.items()]
    found = collect(places)
    assert list(found.loras) == ["a", "b", "c", "c_again"]
    assert found.same_start == (("a", "b"), ("c", "c_again"))
    assert any("untrained" in x and "zero" in x for x in found.remarks)
    assert any("same updates" in x and "c_again" in x for x in found.remarks)


def test_what_cannot_be_used_is_one_line(tmp_path):
    one = write(tmp_path / "one", factors(0))
    nan = factors(1)
    nan["model.layers.0.q_proj"][0][3, 1] = np.nan
    for places, message in (
        ([one], "at least two trained LoRAs are needed, got 1"),
        ([one, write(tmp_path / "nan", nan)], "nan: model.layers.0.q_proj has NaN"),
        ([one, write(tmp_path / "other", factors(1, shapes={"x.0.y": (4, 5)}))], "no matrix in common"),
        (
            [one, write(tmp_path / "size", factors(1, shapes={"model.layers.0.q_proj": (4, 5)}))],
            r"size: .* another base",
        ),
    ):
        with pytest.raises(InputError, match=message):
            collect(places)


def test_similarity_is_that_of_the_dense_updates(tmp_path):
    made = [factors(0, common=0), factors(1, common=0), factors(2, rank=2, common=0), factors(0, common=0)]
    made[3] = {name: (-2 * up, down) for name, (up, down) in made[3].items()}
    found = compare(collect([write(tmp_path / f"l{i}", each, alpha=6) for i, each in enumerate(made)]))
    whole = [
        np.concatenate([x.ravel() for x in _dense(each, 6 / (2 if i == 2 else 3)).values()])
        for i, each in enumerate(made)
    ]
    whole = np.array([x / np.linalg.norm(x) for x in whole])
    np.testing.assert_allclose(found.cosine, whole @ whole.T, atol=1e-5)
    bases = [[np.linalg.qr(each[name][0].astype(np.float64))[0] for name in SHAPES] for each in made]
    expected = np.mean([np.linalg.norm(a.T @ b) ** 2 / 2 for a, b in zip(bases[0], bases[2], strict=True)])
    assert found.output_overlap[0, 2] == pytest.approx(expected, abs=1e-5)
    assert found.output_overlap[0, 3] == pytest.approx(1, abs=1e-5) and found.cosine[0, 3] == pytest.approx(-1)
    assert found.pairs_above(0.5) == [] and found.clusters == []


def test_clusters_near_duplicates_and_outliers_are_found(tmp_path):
    made = [factors(i, common=3) for i in range(5)] + [factors(9, common=0)]
    made.append({name: (1.01 * up, down) for name, (up, down) in made[0].items()})
    found = compare(collect([write(tmp_path / f"l{i}", each) for i, each in enumerate(made)]))
    assert sorted(found.clusters[0]) == ["l0", "l1", "l2", "l3", "l4", "l6"]
    assert found.outliers == ["l5"] and found.pairs_above(0.999)[0][:2] == ("l0", "l6")
