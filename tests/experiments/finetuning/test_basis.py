"""The union of mined subspaces as it is fine-tuned in."""

from math import prod

import numpy as np
import pytest

from experiments.finetuning.basis import read_subspaces, unite
from subspace import merge_subspaces
from tests.experiments.finetuning import small
from vggt_jax.adapters import BaseModel, SubspaceForm, select, trained_numbers
from vggt_jax.parameters import by_part, trainable_parameters

BASE = BaseModel("tiny", "0123456789abcdef", small.tiny.CONFIG)
QKV = "aggregator.frame_blocks.attn.qkv"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subspaces")
    return [small.subspace_folder(folder / name, name, i, dim=3) for i, name in enumerate(("texture", "geometry"))]


@pytest.fixture(scope="module")
def mined(folders):
    return read_subspaces(folders, BASE, small.matrices())


def test_all_directions_of_all_attributes_are_spanned(mined):
    matrices = small.matrices()
    union = unite(mined, matrices, None, "uniform")
    assert set(union.bases) == set(matrices) and set(union.spent) == {"texture", "geometry"}
    for path in (QKV, "camera_head.pose_branch.fc2", "depth_head.projects.0"):
        matrix, basis = matrices[path], union.bases[path]
        expected = merge_subspaces({name: own.factors[path] for name, own in mined.items()})
        for columns, rows, ranks, other in (
            (basis.A, matrix.n, basis.output_rank, expected.A),
            (basis.B, matrix.m, basis.input_rank, expected.B),
        ):
            assert columns.shape[:-1] == (*matrix.stack, rows) and (ranks == min(6, matrix.n, matrix.m)).all()
            span, reference = (np.asarray(x) @ np.asarray(x).mT for x in (columns, other))
            if min(matrix.n, matrix.m) >= 6:
                np.testing.assert_allclose(span, reference, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 3])
def test_m_has_the_papers_side_and_count(mined, dim):
    """One for each matrix, of side min(number of attributes · d, n, m)."""
    union = unite(mined, small.matrices(), dim, "uniform")
    found = by_part(trained_numbers(SubspaceForm(union.bases)))
    assert found == trainable_parameters(small.tiny.CONFIG, "subspace", 2 * dim, plain_parts=())
    each = [min(dim, x.n, x.m) for x in small.matrices().values() for _ in range(prod(x.stack))]
    np.testing.assert_allclose(union.spent["texture"], np.mean(each))


def test_allocations_follow_the_effective_ranks_and_say_what_they_spend(tmp_path):
    """Layers with one, one, one and five equal singular values: only the last is above the mean, 2."""
    stack = select(small.matrices(), [QKV])
    spectrum = np.full((4, 6), 1e-6)
    spectrum[:, 0] = 1
    spectrum[3, :5] = 1
    folder = small.subspace_folder(tmp_path / "x", "texture", 0, dim=6, spectra={QKV: spectrum}, only=[QKV])
    mined = read_subspaces([folder], BASE, stack)
    expected = {"uniform": [2, 2, 2, 2], "importance": [0, 0, 0, 4], "exact": [1, 1, 1, 5]}
    for allocation, ranks in expected.items():
        union = unite(mined, stack, 2, allocation)
        np.testing.assert_array_equal(union.bases[QKV].output_rank, ranks)
        assert union.spent == {"texture": sum(ranks) / 4}
        assert union.bases[QKV].A.shape[-1] == max(ranks)
        leading = np.asarray(mined["texture"].factors[QKV].A)[3, :, : ranks[3]]
        A = np.asarray(union.bases[QKV].A)[3]
        np.testing.assert_allclose(A @ A.T, leading @ leading.T, atol=1e-5)


def test_subspaces_of_something_else_are_one_line(folders, mined, tmp_path):
    matrices = small.matrices()
    other = BaseModel("other", "f" * 16, small.tiny.CONFIG)
    wrong = {**matrices, QKV: matrices["aggregator.frame_blocks.mlp.fc1"]}
    lacking = small.subspace_folder(tmp_path / "x", "camera", 0, only=[QKV])
    cases = [
        (folders, other, matrices, r"the base model tiny \(0123456789abcdef\), this one is other \(f{16}\)"),
        (folders[:1] * 2, BASE, matrices, "both hold the attribute texture"),
        (folders, BASE, wrong, r"qkv is \(4, 24, 8\), in the base model it is \(4, 32, 8\)"),
        ([lacking], BASE, matrices, r"has no subspace for .*; leave it out with --matrices"),
        ([tmp_path / "none"], BASE, matrices, "--subspaces: there is no folder"),
    ]
    for given, base, wanted, message in cases:
        with pytest.raises(ValueError, match=message) as raised:
            read_subspaces(given, base, wanted)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"--dim=4: the subspaces in .*texture have 3 directions"):
        unite(mined, matrices, 4, "uniform")
