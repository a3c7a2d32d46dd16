"""Whole models at once: matrices of many shapes give what each gives alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import (
    LowRank,
    canonicalize,
    merge_subspaces,
    merge_subspaces_by_path,
    pairwise_eigenvalues,
    pairwise_eigenvalues_by_path,
    shared_subspaces,
)
from subspace.grouping import BATCH_NUMBERS, FREE_NUMBERS, PRICE, solve_in_groups
from tests.subspace.oracle import random_adapters

SHAPES = {"frame.qkv": ((2,), 40, 12, 4), "frame.fc1": ((2,), 30, 26, 4), "head": ((), 9, 20, 3)}
"""path → layers, n, m, rank"""
NAMES = ("texture", "geometry", "camera")


def _model(seed, dtype="float64"):
    def subspace(i, layers, n, m, rank):
        A, B = random_adapters(seed + 10 * i, 1, n, m, rank, layers)
        return canonicalize(LowRank(A[0].astype(dtype), B[0].astype(dtype)))

    return {path: subspace(i, *shape) for i, (path, shape) in enumerate(SHAPES.items())}


MODELS = {name: _model(seed) for seed, name in enumerate(NAMES)}


def test_eigenvalues_of_a_model_are_those_of_each_matrix():
    found = pairwise_eigenvalues_by_path(MODELS)
    assert list(found) == ["output", "input"]
    for side, by_path in found.items():
        assert list(by_path) == list(SHAPES)
        for path, (layers, _, _, rank) in SHAPES.items():
            assert by_path[path].shape == (*layers, 3, 2 * rank)
            alone = pairwise_eigenvalues({name: MODELS[name][path] for name in NAMES}, side)
            assert list(alone) == list(itertools.combinations(NAMES, 2))
            np.testing.assert_allclose(by_path[path], np.stack([*alone.values()], axis=-2), atol=1e-12)


RANKS = {
    "texture": {"frame.qkv": np.array([1, 4]), "frame.fc1": 2, "head": 3},
    "geometry": {"frame.qkv": np.array([3, 0]), "frame.fc1": 4, "head": 1},
    "camera": {"frame.qkv": 2, "frame.fc1": np.array([0, 1]), "head": 2},
}


@pytest.mark.parametrize("ranks", [None, RANKS])
@pytest.mark.parametrize("dim", [None, {"frame.qkv": 7, "frame.fc1": 30, "head": 5}])
def test_merged_bases_of_a_model_are_those_of_each_matrix(ranks, dim):
    found = merge_subspaces_by_path(MODELS, ranks, dim=dim)
    assert list(found) == list(SHAPES)
    for path in SHAPES:
        alone = merge_subspaces(
            {name: MODELS[name][path] for name in NAMES},
            ranks and {name: own[path] for name, own in ranks.items()},
            dim=dim and dim[path],
        )
        assert [x.shape for x in jax.tree.leaves(found[path])] == [x.shape for x in jax.tree.leaves(alone)]
        for side in ("output", "input"):
            np.testing.assert_array_equal(getattr(found[path], f"{side}_rank"), getattr(alone, f"{side}_rank"))
            np.testing.assert_allclose(
                getattr(found[path], f"{side}_spectrum"), getattr(alone, f"{side}_spectrum"), atol=1e-7
            )
        for own, expected in ((found[path].A, alone.A), (found[path].B, alone.B)):
            if dim is None:  # a cut may fall among equal singular values
                np.testing.assert_allclose(own @ own.mT, expected @ expected.mT, atol=1e-9)
            assert isinstance(own, np.ndarray)


def test_an_attribute_of_smaller_rank_is_no_other_direction():
    smaller = {path: LowRank(x.A[..., :2], x.B[..., :2]) for path, x in MODELS["camera"].items()}
    found = merge_subspaces_by_path({"texture": MODELS["texture"], "camera": smaller})
    assert found["frame.qkv"].output_rank.tolist() == found["frame.qkv"].input_rank.tolist() == [6, 6]
    assert found["frame.qkv"].A.shape == (2, 40, 6)


def test_a_narrowed_basis_has_no_column_that_no_layer_uses():
    basis = merge_subspaces_by_path({"a": MODELS["texture"], "b": MODELS["texture"]})["frame.qkv"]
    assert basis.A.shape[-1] == 8 and basis.output_rank.tolist() == [4, 4]
    narrow = basis.narrowed()
    assert (narrow.A.shape, narrow.B.shape, narrow.output_spectrum.shape) == ((2, 40, 4), (2, 12, 4), (2, 4))
    np.testing.assert_allclose(narrow.A @ narrow.A.mT, basis.A @ basis.A.mT)
    one = basis.narrowed(1)
    assert one.A.shape == (2, 40, 1) and one.output_rank.tolist() == [1, 1]
    np.testing.assert_array_equal(one.A, basis.A[..., :1])


def _sizes_of_groups(stacks):
    seen = []

    def solve(together, own):
        seen.append(together.A.shape[:1] + together.shape[1:])
        return own

    order = {path: i for i, path in enumerate(stacks)}
    assert {path: set(np.ravel(own)) for path, own in solve_in_groups(stacks, order, solve).items()} == {
        path: {i} for path, i in order.items()
    }
    return seen


def test_small_models_are_one_group_and_padded_no_further_than_their_largest():
    def stack(n, m):
        return LowRank(np.zeros((5, 2, n, 4)), np.zeros((5, 2, m, 4)))

    assert _sizes_of_groups({"a": stack(64, 192), "b": stack(192, 64), "c": stack(190, 60)}) == [(5, 6, 192, 192)]


def test_padding_has_a_limit():
    """200 adapters of 64×64 beside one matrix of 1,024: padded to it their cores alone would take 9 GB."""

    def stack(n):
        return LowRank(np.zeros((200, 1, n, 16), np.float16), np.zeros((200, 1, n, 16), np.float16))

    sizes = _sizes_of_groups({f"small {i}": stack(64) for i in range(10)} | {"large": stack(1024)})
    assert sorted(sizes) == [(200, 1, 1024, 1024), (200, 5, 64, 64), (200, 5, 64, 64)]
    assert PRICE < 2 and FREE_NUMBERS < BATCH_NUMBERS < 10**7


def test_what_does_not_fit_is_named():
    texture, camera = MODELS["texture"], MODELS["camera"]
    large = LowRank(np.ones((2, 3, 4)), np.ones((2, 8, 4)))
    bad = {**camera, "head": LowRank(jnp.full((9, 3), jnp.nan), camera["head"].B)}
    for function in (pairwise_eigenvalues_by_path, merge_subspaces_by_path):
        with pytest.raises(ValueError, match="camera and texture have different matrices: only one has head"):
            function({"texture": texture, "camera": {path: x for path, x in camera.items() if path != "head"}})
        with pytest.raises(ValueError, match=r"camera: head is \(20, 9\).*, in texture it is \(9, 20\)"):
            function({"texture": texture, "camera": {**camera, "head": camera["head"].mT}})
        with pytest.raises(ValueError, match="camera: head: A has NaN or infinity"):
            function({"texture": texture, "camera": bad})
    with pytest.raises(ValueError, match=r"at least two attributes to compare, got \['texture'\]"):
        pairwise_eigenvalues_by_path({"texture": texture})
    with pytest.raises(ValueError, match=r"a: q \(2, 3, 8\) has rank 4: canonicalize it first"):
        pairwise_eigenvalues_by_path({"a": {"q": large}, "b": {"q": large}})
    with pytest.raises(ValueError, match="subspaces is empty"):
        merge_subspaces_by_path({})
    ranks = {name: dict.fromkeys(SHAPES, 1) for name in ("texture", "camera")}
    ranks["camera"]["head"] = 4
    with pytest.raises(ValueError, match="ranks of camera must lie between 0 and 3 in head, got 4 to 4"):
        merge_subspaces_by_path({"texture": texture, "camera": camera}, ranks)
    with pytest.raises(ValueError, match="dim must be positive"):
        merge_subspaces_by_path({"texture": texture}, dim=0)
    with pytest.raises(ValueError, match=r"dim names no dimension for 'frame\.fc1'"):
        merge_subspaces_by_path({"texture": texture}, dim={"head": 1, "frame.qkv": 1})
    for ranks in ({}, {"texture": {"head": 1, "frame.qkv": 1}}):
        with pytest.raises(ValueError, match=r"ranks names no number of columns for frame\.fc1 of texture"):
            merge_subspaces_by_path({"texture": texture}, ranks)
    empty = {"q": LowRank(np.zeros((0, 5, 2)), np.zeros((0, 4, 2)))}
    for call in (
        lambda: merge_subspaces_by_path({"a": empty}),
        lambda: pairwise_eigenvalues_by_path({"a": empty, "b": empty}),
        lambda: shared_subspaces({"q": LowRank(np.zeros((3, 0, 5, 2)), np.zeros((3, 0, 4, 2)))}, 2),
    ):
        with pytest.raises(ValueError, match=r"q holds no matrix: its layers are \(0,\)"):
            call()
