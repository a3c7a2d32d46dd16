"""What is left of the first draw, against dense NumPy and SciPy's principal angles."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.linalg import orth, subspace_angles

from experiments.analysis.first_factors import _kept, drawn_again, first_factor_rows
from experiments.data.manifest import AttributeSettings
from experiments.extraction.prepared import first_draw
from subspace import LowRank
from tests.experiments.analysis.planted import BASE
from vggt_jax.adapters import Adapter, LoRA, initialize, load_adapter, save_adapter
from vggt_jax.parameters import adaptable_matrices

ABOUT = {"attribute": "camera", "setting": "object_centric", "init": "independent", "targets": "true", "seed": 5}
PATHS = ("aggregator.frame_blocks.attn.proj", "camera_head.pose_branch.fc2")
RANK = 3


def trained(folder, about):
    """Two adapters whose input factors moved a little, and (adapter, path) → their first ones as training draws them."""
    everything = adaptable_matrices(BASE.config)
    maker = LoRA({path: everything[path] for path in PATHS}, RANK, 2.0 * RANK)
    settings = AttributeSettings(
        attribute="camera", setting="object_centric", seed=9, views=8, resolution=96, samples=4
    )
    first = jax.device_get(initialize(maker, first_draw(5, "independent", settings, "true"), 2, "independent"))
    rng, files = np.random.default_rng(0), []
    for number in range(2):
        deltas = {
            path: LowRank(
                rng.normal(size=factors.A.shape[1:]).astype(np.float32),
                (factors.B[number] + 0.03 * rng.normal(size=factors.B.shape[1:])).astype(np.float32),
            )
            for path, factors in first.items()
        }
        files.append(folder / f"camera_{number:02d}.safetensors")
        save_adapter(files[-1], Adapter(deltas, BASE, 2.0, about))
    mined = SimpleNamespace(
        origin=SimpleNamespace(init=about.get("init")),
        adapter_files=tuple(files),
        read_adapter=lambda number: dict(load_adapter(files[number]).deltas),
    )
    return mined, {(number, path): first[path].B[number] for number in range(2) for path in PATHS}


def test_first_factors_are_drawn_again_and_shares_are_those_of_dense_matrices(tmp_path):
    mined, first = trained(tmp_path, ABOUT)
    again = drawn_again(mined)
    assert again is not None
    for (number, path), B in first.items():
        np.testing.assert_array_equal(again[number][path], B)
    rows = first_factor_rows(SimpleNamespace(attributes={"camera": mined}))  # pyright: ignore[reportArgumentType]
    assert [(row.attribute, row.part) for row in rows] == [("camera", "aggregator"), ("camera", "camera head")]
    for row, path in zip(rows, PATHS, strict=True):
        inputs = first[0, path].shape[-2]
        spaces, moved, inside, energy = [], [], 0.0, 0.0
        for number in range(2):
            own = mined.read_adapter(number)[path]
            layers = zip(
                *(np.asarray(x).reshape(-1, *x.shape[-2:]) for x in (own.A, own.B, first[number, path])), strict=True
            )
            for A, B, B0 in layers:
                spaces.append(np.mean(np.cos(subspace_angles(B.astype(float), B0.astype(float))) ** 2))
                moved.append(np.linalg.norm(B - B0) / np.linalg.norm(B0))
                dense = A.astype(float) @ B.astype(float).T
                inside += np.linalg.norm(dense @ orth(B0.astype(float))) ** 2
                energy += np.linalg.norm(dense) ** 2
        assert row.matrices == len(spaces) and row.chance == pytest.approx(RANK / inputs)
        assert row.row_space == pytest.approx(np.mean(spaces), abs=1e-6)
        assert row.moved == pytest.approx(np.mean(moved), rel=1e-5)
        assert row.energy == pytest.approx(inside / energy, abs=1e-6)


def test_of_adapters_that_do_not_say_how_they_were_drawn_there_is_nothing_to_say(tmp_path):
    mined, _ = trained(tmp_path, {"method": "lora"})
    assert first_factor_rows(SimpleNamespace(attributes={"camera": mined})) == []  # pyright: ignore[reportArgumentType]


def test_of_a_matrix_with_fewer_inputs_than_the_rank_everything_lies_in_any_first_factor():
    rng = np.random.default_rng(0)
    A, B, first = (rng.normal(size=size).astype(np.float32) for size in ((20, 16), (9, 16), (9, 16)))
    ((row_space, _, chance, inside, energy),) = _kept(LowRank(A, B), first)
    assert (row_space, chance) == pytest.approx((1, 1)) and inside == pytest.approx(energy)
