"""The union of mined subspaces: which directions enter, and what is left after merging."""

from math import prod

import numpy as np
import pytest

from experiments.finetuning.methods.psv import PSV
from experiments.mining.allocation import allocate, layer_dims
from experiments.mining.folder import read_folder
from experiments.mining.union import unite
from subspace import merge_subspaces
from tests.experiments.finetuning import small
from vggt_jax.adapters import SubspaceForm, select, trained_numbers
from vggt_jax.parameters import by_part

QKV = "aggregator.frame_blocks.attn.qkv"
SMALL = "camera_head.pose_branch.fc2"


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subspaces")
    names = ("texture", "geometry")
    return {name: read_folder(small.subspace_folder(folder / name, name, i, dim=3)) for i, name in enumerate(names)}


def united(mined, budget, paths):
    return unite(mined, {path: allocate(mined, path, "uniform", budget) for path in paths})


def test_all_directions_of_all_attributes_are_spanned(mined):
    matrices = small.matrices()
    union = united(mined, 3, matrices)
    assert set(union.bases) == set(matrices) and union.attributes == ("texture", "geometry")
    assert union.kept == {"texture": 1, "geometry": 1}
    square = union.square()
    for path in (QKV, SMALL, "depth_head.projects.0"):
        matrix, basis = matrices[path], square[path]
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
    union = united(mined, dim, small.matrices())
    found = by_part(trained_numbers(SubspaceForm(union.square())))
    assert found == PSV(dim=2 * dim, plain=None).count(small.tiny.CONFIG)
    each = [min(dim, x.n, x.m) for x in small.matrices().values() for _ in range(prod(x.stack))]
    np.testing.assert_allclose(union.spent["texture"], np.mean(each))


def test_what_is_kept_is_the_energy_of_the_leading_directions(mined):
    """All singular values of these subspaces are 1."""
    union = united(mined, 1, [QKV])
    np.testing.assert_allclose([union.kept["texture"], union.kept["geometry"]], 1 / 3, rtol=1e-6)


def test_allocations_follow_the_effective_ranks(tmp_path):
    """Layers with one, one, one and five equal singular values: only the last is above the mean, 2."""
    stack = select(small.matrices(), [QKV])
    spectrum = np.full((4, 6), 1e-6)
    spectrum[:, 0] = 1
    spectrum[3, :5] = 1
    folder = small.subspace_folder(tmp_path / "x", "texture", 0, dim=6, spectra={QKV: spectrum}, only=[QKV])
    mined = {"texture": read_folder(folder)}
    for allocation, ranks in (("uniform", [2, 2, 2, 2]), ("importance", [0, 0, 0, 4]), ("exact", [1, 1, 1, 5])):
        dims = {path: allocate(mined, path, allocation, 2) for path in stack}
        np.testing.assert_array_equal(dims[QKV], [ranks])
        union = unite(mined, dims)
        basis = union.square()[QKV]
        np.testing.assert_array_equal(basis.output_rank, ranks)
        assert union.spent == {"texture": sum(ranks) / 4}
        assert basis.A.shape[-1] == max(ranks)
        leading = np.asarray(mined["texture"].factors[QKV].A)[3, :, : ranks[3]]
        A = np.asarray(basis.A)[3]
        np.testing.assert_allclose(A @ A.T, leading @ leading.T, atol=1e-5)


def test_a_lone_matrix_gets_the_mean_and_no_layer_more_than_was_mined():
    assert layer_dims(np.ones(4), "exact", 2, 3).shape == () and layer_dims(np.ones(4), "exact", 2, 3) == 2
    spectra = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], float)
    np.testing.assert_array_equal(layer_dims(spectra, "exact", 2, 3), [3, 1])
