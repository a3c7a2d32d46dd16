"""The union of planted subspaces, three ways of allocating dimensions, and the paper's parameter counts."""

import numpy as np
import pytest

from experiments.analysis.basis import MergedSizes, basis_rows, measure_basis, parameter_counts, union_summary
from experiments.analysis.matrices import Matrix
from experiments.mining.folder import read_inputs
from subspace import allocate_importance, allocate_proportional
from tests.experiments.analysis.planted import factors, orthonormal, turned, write_subspace
from vggt_jax import VGGTConfig
from vggt_jax.adaptable import adaptable
from vggt_jax.parameters import abstract_model

DIM = 4
SHAPES = {"aggregator.frame_blocks.attn.qkv": ((3,), 60, 40), "camera_head.pose_branch.fc2": ((), 7, 48)}
SPECTRA = {"geometry": np.array([4.0, 3.0, 2.0, 1.0]), "texture": np.array([4.0, 1.0, 0.5, 0.1])}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Texture repeats one output direction of geometry in every layer; the inputs of layer 2 are the same altogether."""
    folder, rng = tmp_path_factory.mktemp("basis"), np.random.default_rng(0)
    found = {"geometry": {}, "texture": {}}
    for path, (layers, n, m) in SHAPES.items():
        pieces = {name: [] for name in found}
        for layer in range(int(np.prod(layers))):
            U, V = orthonormal(rng, n, DIM), orthonormal(rng, m, DIM)
            others = orthonormal(rng, n, n)
            others = np.linalg.qr(others - U @ (U.T @ others))[0][:, : DIM - 1]
            U_other = np.concatenate([U[:, :1], others], axis=1)  # in R⁷ this fits exactly
            V_other = V if layer == 2 else turned(rng, V, np.full(DIM, 90.0))
            pieces["geometry"].append(factors(U, V, SPECTRA["geometry"]))
            pieces["texture"].append(factors(U_other, V_other, SPECTRA["texture"]))
        for name, each in pieces.items():
            A, B = (np.stack([getattr(x, s) for x in each]).reshape(*layers, -1, DIM) for s in "AB")
            found[name][path] = type(each[0])(A, B)
    effective = {  # of the layers' C: 2, 3, 4
        "aggregator.frame_blocks.attn.qkv": np.array([np.r_[np.ones(r), np.zeros(12 - r)] for r in (2, 3, 4)]),
        "camera_head.pose_branch.fc2": np.r_[np.ones(2), np.zeros(5)],
    }
    return measure_basis(
        read_inputs([write_subspace(folder / name, name, own, spectra=effective) for name, own in found.items()])
    )


def test_shared_directions_are_dropped(numbers):
    np.testing.assert_array_equal(numbers.whole.dims, DIM)
    np.testing.assert_array_equal(numbers.whole.output, [7, 7, 7, 7])  # 8 less the one that is there twice
    np.testing.assert_array_equal(numbers.whole.input, [8, 8, 4, 8])
    np.testing.assert_allclose(numbers.whole.smallest[:3, 0], 0, atol=1e-5)
    np.testing.assert_allclose(numbers.whole.smallest[[0, 1, 3], 1], 1, atol=1e-5)  # orthogonal
    assert numbers.whole.parameters == 7 * 8 + 7 * 8 + 7 * 4 + 7 * 8
    np.testing.assert_allclose(numbers.whole.kept, 1)


def test_allocations_spend_the_budget_as_they_say(numbers):
    ranks = np.array([2.0, 3.0, 4.0])
    assert numbers.budget == 2
    expected = {
        "uniform": [2, 2, 2],
        "importance": np.minimum(allocate_importance(ranks, 2), DIM),
        "exact": allocate_proportional(ranks, 2, DIM),
    }
    for name, own in expected.items():
        union = numbers.allocations[name]
        for dims in union.dims:
            np.testing.assert_array_equal(dims[:3], own)
            assert dims[3] == 2  # a matrix for itself gets the mean
    assert numbers.allocations["exact"].dims[0, :3].sum() == 6


def test_a_union_of_leading_directions(numbers):
    uniform = numbers.allocations["uniform"]
    np.testing.assert_array_equal(uniform.output, [3, 3, 3, 3])  # the doubled direction leads in both
    np.testing.assert_array_equal(uniform.brought, 4)
    expected = [np.sum(SPECTRA[name][:2] ** 2) / np.sum(SPECTRA[name] ** 2) for name in ("geometry", "texture")]
    np.testing.assert_allclose(uniform.kept, expected, rtol=1e-5)


def test_rows_and_summary(numbers):
    rows = basis_rows(numbers)
    assert len(rows) == 4 * 4 and rows[0].dims == [4, 4] and rows[0].output == 7
    summary = union_summary(numbers)
    assert [(row.allocation, row.dim) for row in summary] == [
        (None, 4),
        ("uniform", 2),
        ("importance", 2),
        ("exact", 2),
    ]
    assert summary[0].dropped_output == pytest.approx(4 / 32) and summary[0].dropped_input == pytest.approx(4 / 32)


@pytest.mark.parametrize(
    ("D", "count"), [(16, 3_814_630), (32, 3_998_182), (64, 4_729_318), (128, 7_653_862), (256, 19_302_886)]
)
def test_the_papers_parameter_counts(D, count):
    matrices = [
        Matrix(path, layer, each.n, each.m, 16)
        for path, each in adaptable(abstract_model(VGGTConfig.vggt_1b())).items()
        for layer in (range(each.stack[0]) if each.stack else [None])
    ]
    assert len(matrices) == 242
    none = MergedSizes(*(np.zeros((1, 242), int),), *(np.zeros(242, int),) * 2, np.zeros(1), np.zeros((242, 2)))
    counts = parameter_counts(matrices, dict.fromkeys([m.path for m in matrices], 16), none, D)
    assert counts.lora == 16_336_192 and counts.M_and_head_lora == count
    if D == 256:
        assert counts.block_M_and_head_lora == 16_336_192
