"""Adapters with a planted common part: what is mined, how it is summarised, stored and shown."""

import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.mining.dimensions import dimensions
from experiments.mining.mine import mine, stack_adapters
from experiments.mining.origin import Origin
from experiments.mining.report import compose, draw_figures, print_table, verdict
from experiments.mining.subspace_file import FORMAT, load_subspace, save_subspace
from experiments.mining.summary import Sharing, by_kind, group_of, rows, sharing
from experiments.reports.drawings import svg
from experiments.reports.page import plot
from subspace import LowRank
from subspace.errors import InputError
from subspace.grouping import layouts_of

SHAPES = {
    "aggregator.frame_blocks.attn.qkv": ((3,), 48, 16, 4),
    "aggregator.global_blocks.mlp.fc2": ((3,), 16, 64, 4),
    "camera_head.trunk.mlp.fc1": ((2,), 40, 30, 4),
    "camera_head.pose_branch.fc2": ((), 9, 20, 4),
}
NAMES = ("geometry-0", "geometry-1", "geometry-2", "geometry-3")


def _adapters(shared: float, private: float, seed: int = 0):
    """{name: {path: LowRank}}: a common update of every matrix plus one of each adapter's own."""
    rng = np.random.default_rng(seed)
    common = {path: _draw(rng, *shape) for path, shape in SHAPES.items()}
    found = {}
    for name in NAMES:
        found[name] = {}
        for path, (stack, n, m, r) in SHAPES.items():
            own = _draw(rng, stack, n, m, r)
            A = shared * common[path].A + private * own.A
            found[name][path] = LowRank(A.astype(np.float32), (common[path].B + private * own.B).astype(np.float32))
    return found


def _draw(rng, stack, n, m, r):
    return LowRank(rng.standard_normal((*stack, n, r)), rng.standard_normal((*stack, m, r)))


@pytest.fixture(scope="module")
def mined():
    return mine(stack_adapters(_adapters(1.0, 0.2)), 4)


def test_captured_and_held_out_energy_equal_dense_projections(mined):
    stacks = stack_adapters(_adapters(1.0, 0.2))
    for path, found in mined.subspaces.items():
        layers = stacks[path].A.shape[1:-2]
        for index in np.ndindex(*layers):
            W = np.asarray(found.factors[index].to_dense() if index else found.factors.to_dense(), np.float64)
            U, sigma, Vt = np.linalg.svd(W)
            d = int((sigma > 1e-5 * sigma[0]).sum())
            for i in range(len(NAMES)):
                where = (i, *index)
                dW = np.asarray(stacks[path].A[where], np.float64) @ np.asarray(stacks[path].B[where], np.float64).T
                expected = np.linalg.norm(U[:, :d].T @ dW @ Vt[:d].T) ** 2 / np.linalg.norm(dW) ** 2
                assert mined.captured[path][(*index, i)] == pytest.approx(expected, abs=1e-5)
    for row in rows(mined):
        assert row.held_out is not None and 0.3 < row.held_out <= np.mean(row.captured) + 1e-3
        assert row.chance == pytest.approx(row.dim**2 / (row.n * row.m))
        assert row.turn is not None and 0 <= row.turn <= 90


def test_an_outlier_has_no_say():
    adapters = _adapters(1.0, 0.05)
    adapters[NAMES[2]] = _adapters(1.0, 1.0, seed=5)[NAMES[0]]
    for row in rows(mine(stack_adapters(adapters), 4)):
        assert row.weights[2] * len(NAMES) < 0.35 and sum(row.weights) == pytest.approx(1, abs=1e-5)


def test_the_verdict_follows_the_held_out_energy(mined):
    summaries = rows(mined)
    found = sharing(summaries)
    assert found is not None and found.above_chance == found.matrices == len(summaries) == 9
    assert found.held_out == np.median([row.held_out for row in summaries]) > 3 * found.chance
    assert verdict(summaries).startswith("In 9 of 9 matrices")
    nothing = [replace(row, held_out=row.chance) for row in summaries]
    assert sharing(nothing) == Sharing(9, 0, found.chance, found.chance)
    assert verdict(nothing).startswith("The adapters share next to nothing")
    untested = [replace(row, held_out=None) for row in summaries]
    assert sharing(untested) is None and "not tested" in verdict(untested)


def test_matrices_that_no_adapter_changes_are_no_evidence(mined):
    adapters = _adapters(1.0, 0.2)
    first, second, *_ = SHAPES
    for adapter in adapters.values():
        for path in (first, second):
            adapter[path] = LowRank(np.zeros_like(adapter[path].A), adapter[path].B)
    found, before = (sharing(rows(each)) for each in (mine(stack_adapters(adapters), 4), mined))
    assert found is not None and before is not None
    zero = sum(row.path in (first, second) for row in rows(mined))
    assert zero and found.matrices == before.matrices - zero and found.above_chance == before.above_chance - zero
    kept = [row.held_out for row in rows(mined) if row.path not in (first, second)]
    assert found.held_out == pytest.approx(np.median(kept), abs=1e-5)


def test_two_adapters_cannot_hold_one_out():
    adapters, path = _adapters(1.0, 0.2), "camera_head.pose_branch.fc2"
    found = mine(stack_adapters({name: {path: adapters[name][path]} for name in NAMES[:2]}), 3)
    assert found.stability == {} and all(row.held_out is None and row.turn is None for row in rows(found))
    assert "–" in print_table(rows(found))


def test_small_matrices_get_the_room_that_they_have():
    stacks = layouts_of(stack_adapters(_adapters(1.0, 0.2)))
    assert dimensions(stacks, 12) == {path: min(12, *shape[1:3]) for path, shape in SHAPES.items()}
    with pytest.raises(ValueError, match=r"dim=17 is out of range: 4 adapters of rank 4 span at most 16"):
        dimensions(stacks, 17)
    with pytest.raises(ValueError, match="dim=0 is out of range"):
        dimensions(stacks, 0)
    one = LowRank(np.ones((9, 4)), np.ones((20, 4)))
    narrow = layouts_of(stack_adapters({name: {"head": one} for name in NAMES}))
    assert dimensions(narrow, 9) == {"head": 9}
    with pytest.raises(InputError, match=r"dim=10 is more than a matrix can have: the largest is 9 × 20") as error:
        dimensions(narrow, 10)
    assert error.value.argument == "dim"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: a.pop("camera_head.pose_branch.fc2"), "different matrices: only geometry-0 has camera_head"),
        (lambda a: a.update({"new": a["camera_head.pose_branch.fc2"]}), "only geometry-1 has new"),
        (
            lambda a: a.update({"camera_head.pose_branch.fc2": LowRank(np.zeros((9, 3)), np.zeros((20, 3)))}),
            "geometry-1: camera_head.pose_branch.fc2 has rank 3, in geometry-0 rank 4",
        ),
        (
            lambda a: a.update({"camera_head.pose_branch.fc2": LowRank(np.zeros((8, 4)), np.zeros((20, 4)))}),
            r"geometry-1: camera_head.pose_branch.fc2 is \(8, 20\), in geometry-0 it is \(9, 20\)",
        ),
    ],
)
def test_adapters_that_do_not_belong_together(damage, message):
    adapters = _adapters(1.0, 0.2)
    damage(adapters[NAMES[1]])
    with pytest.raises(ValueError, match=message):
        stack_adapters(adapters)


def test_one_adapter_shares_nothing():
    with pytest.raises(ValueError, match="at least two adapters, got 1"):
        stack_adapters({NAMES[0]: _adapters(1.0, 0.2)[NAMES[0]]})


def test_groups_of_the_short_table(mined):
    assert group_of("aggregator.frame_blocks.attn.qkv") == "frame qkv"
    assert group_of("camera_head.trunk.mlp.fc1") == "camera head fc1"
    assert group_of("model.embed_tokens") == "embed_tokens" and group_of("lora_unet_conv_in") == "lora_unet_conv_in"
    assert group_of("depth_head.scratch.refinenet1.out_conv") == "depth head, other"
    kinds = by_kind(rows(mined))
    assert [kind.kind for kind in kinds] == ["frame qkv", "global fc2", "camera head fc1", "camera head, other"]
    assert [kind.count for kind in kinds] == [3, 3, 2, 1]
    assert all(0 < kind.with_pattern <= kind.count for kind in kinds)


def test_file_round_trip_and_refusals(mined, tmp_path):
    path = tmp_path / "subspace.safetensors"
    origin = Origin("geometry", "nano", "0" * 16, 4, 1.0, NAMES, "shared", "true")
    save_subspace(path, mined.subspaces, origin)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    stored = load_subspace(path)
    assert stored.origin == origin and list(stored.factors) == sorted(mined.subspaces)
    for name, found in mined.subspaces.items():
        np.testing.assert_array_equal(stored.factors[name].A, found.factors.A)
        np.testing.assert_array_equal(stored.factors[name].B, found.factors.B)
        np.testing.assert_array_equal(stored.statistics[name]["weights"], found.weights)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"subspace.safetensors: is cut off"):
        load_subspace(path)


def test_the_report_stands_alone(mined):
    summaries = rows(mined)
    figures = {
        name: plot(svg(drawing), caption) for name, (drawing, caption) in draw_figures(NAMES, mined, summaries).items()
    }
    html = compose("Geometry", summaries, figures, [], {"rank": "4", "<b>": "&"})
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "@import" not in html
    assert html.count("<figure>") == 3 and "&lt;b&gt;" in html
    for kind in by_kind(rows(mined)):
        assert f"<td>{kind.kind}</td><td>{kind.count}</td>" in html


def test_files_of_other_versions_and_kinds_are_refused(mined, tmp_path):
    path = tmp_path / "subspace.safetensors"
    save_subspace(path, mined.subspaces, Origin("geometry", "nano", None, 4, 1.0, NAMES))
    stored = load_subspace(path)
    assert (stored.origin.init, stored.origin.targets, stored.origin.base_label) == (None, None, "nano")
    tensors = load_file(path)
    for header, message in [
        ({"format": FORMAT.replace("version 2", "version 1"), "origin": "{}"}, "of an earlier version"),
        ({"format": FORMAT, "origin": '{"attribute": "geometry"}'}, "does not say what it was mined from"),
        ({}, "holds no mined subspace"),
    ]:
        save_file(tensors, path, header)
        with pytest.raises(InputError, match=rf"subspace.safetensors .*{message}"):
            load_subspace(path)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("nano", "a" * 16), ("copy of nano", "a" * 16), True),
        (("nano", "a" * 16), ("nano", "b" * 16), False),
        (("nano", None), ("nano", None), True),
        (("nano", None), ("nano", "a" * 16), False),
    ],
)
def test_base_models_are_told_apart_by_their_fingerprints(first, second, same):
    one, other = (Origin("geometry", *base, 4, 1.0, NAMES) for base in (first, second))
    assert one.has_base_of(other) is other.has_base_of(one) is same


@pytest.mark.parametrize(("n", "m"), [(1, 40), (40, 1), (1, 1), (2, 3)])
def test_a_matrix_with_hardly_any_room_gets_a_row(n, m):
    adapters = _adapters(1.0, 0.2)
    rng = np.random.default_rng(0)
    for adapter in adapters.values():
        adapter["head.small"] = LowRank(*(rng.standard_normal((size, 4)).astype(np.float32) for size in (n, m)))
    found = mine(stack_adapters(adapters), 4)
    row = next(row for row in rows(found) if row.path == "head.small")
    assert row.dim == min(n, m) and (row.pattern is None) == (min(n, m) == 1)
    assert row.held_out_each is not None and len(row.held_out_each) == len(NAMES)
    assert row.held_out == pytest.approx(np.mean(row.held_out_each)) and row.chance == row.dim**2 / (n * m)
    kind = by_kind(rows(found))[-1]
    assert kind.with_pattern == (min(n, m) > 1) and kind.kind in print_table(rows(found))
    for drawing, _ in draw_figures(NAMES, found, rows(found)).values():
        svg(drawing)


def test_chance_is_that_of_the_dimensions_that_were_held_out():
    stacks = stack_adapters(_adapters(1.0, 0.2))
    for row in rows(mine(stacks, 16)):
        assert row.dim == min(16, row.n, row.m)
        assert row.chance == pytest.approx(min(12, row.n, row.m) ** 2 / (row.n * row.m))


def test_nothing_that_is_not_finite_is_written(mined, tmp_path):
    path = next(iter(mined.subspaces))
    found = mined.subspaces[path]
    bad = {path: replace(found, residuals=np.full_like(found.residuals, np.nan))}
    with pytest.raises(InputError, match=rf"{path}\.residuals would hold NaN"):
        save_subspace(tmp_path / "subspace.safetensors", bad, Origin("geometry", "nano", None, 4, 1.0, NAMES))
    assert not list(tmp_path.iterdir())
