"""Merges against PEFT's functions and the formulas on dense matrices; parts of a LoRA; what is written."""

from pathlib import Path

import numpy as np
import pytest

from experiments.loras.collection import collect
from experiments.loras.merging import Merge, merge, merge_matrix, reduced, ties
from experiments.loras.parts import split
from experiments.loras.writing import convert
from subspace import Basis, LowRank, canonicalize, shared_subspaces
from subspace.errors import InputError
from tests.experiments.loras.made import factors, write
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_write import write_lora

WEIGHTS = np.array([1.0, 0.5, 2.0])


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    return [LowRank(rng.standard_normal((14, 2)), rng.standard_normal((11, 2))) for _ in range(3)]


def _merged(parts, method, weights=WEIGHTS, **options):
    found = merge_matrix(parts, weights, Merge(method=method, **options), "q")
    return found if isinstance(found, np.ndarray) else found.to_dense()


def test_sum_and_mean(parts):
    W = [x.to_dense() for x in parts]
    total = sum(w * x for w, x in zip(WEIGHTS, W, strict=True))
    np.testing.assert_allclose(_merged(parts, "sum"), total, atol=1e-12)
    np.testing.assert_allclose(_merged(parts, "mean"), total / 3.5, atol=1e-12)


def test_the_reduction_of_the_rank_is_the_best_there_is(parts):
    exact = merge_matrix(parts, WEIGHTS, Merge(method="sum"))
    assert isinstance(exact, LowRank)
    U, sigma, Vt = np.linalg.svd(exact.to_dense())
    found, kept, whole = reduced(exact, 3)
    np.testing.assert_allclose(found.to_dense(), (U[:, :3] * sigma[:3]) @ Vt[:3], atol=1e-4)
    assert (kept, whole) == (pytest.approx(np.sum(sigma[:3] ** 2)), pytest.approx(np.sum(sigma**2)))
    np.testing.assert_allclose(reduced(np.asarray(exact.to_dense()), 3)[0].to_dense(), found.to_dense(), atol=1e-4)


@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_ties_and_dare_are_those_of_peft(density, parts):
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("peft.utils.merge_utils")
    tensors = [torch.tensor(x.to_dense()) for x in parts]
    expected = utils.ties(tensors, torch.tensor(WEIGHTS), density)
    np.testing.assert_allclose(_merged(parts, "ties", density=density), expected.numpy(), atol=1e-12)
    if density == 1:
        expected = utils.dare_linear(tensors, torch.tensor(WEIGHTS), density)
        np.testing.assert_allclose(_merged(parts, "dare", density=density), expected.numpy(), atol=1e-12)


def test_dare_keeps_what_it_says_and_is_right_on_average(parts):
    one = _merged(parts[:1], "dare", np.ones(1), density=0.5)
    W = parts[0].to_dense()
    assert set(np.round((one / W).ravel(), 9)) == {0.0, 2.0}
    mean = np.mean([_merged(parts, "dare", density=0.5, seed=seed) for seed in range(400)], axis=0)
    assert np.abs(mean - _merged(parts, "sum")).max() < 0.25 * np.abs(W).max()
    np.testing.assert_array_equal(_merged(parts, "dare"), _merged(parts, "dare"))


def test_knots_is_ties_on_the_right_sides_of_all_updates_side_by_side(parts):
    U, sigma, Vt = np.linalg.svd(np.concatenate([x.to_dense() for x in parts], axis=1), full_matrices=False)
    used = sigma > 1e-10
    own = [x.T for x in np.split(Vt[used], 3, axis=1)]
    expected = (U[:, used] * sigma[used]) @ ties(own, WEIGHTS, 0.5).T
    np.testing.assert_allclose(_merged(parts, "knots", density=0.5), expected, atol=1e-9)


def test_task_singular_vectors_and_isotropic_merging(parts):
    found = _merged(parts, "tsv", np.ones(3))
    svds = [np.linalg.svd(x.to_dense()) for x in parts]
    sides = []
    for columns in ([U[:, :2] for U, _, _ in svds], [Vt[:2].T for _, _, Vt in svds]):
        P, _, Qt = np.linalg.svd(np.concatenate(columns, axis=1), full_matrices=False)
        sides.append(P @ Qt)
    sigma = np.concatenate([s[:2] for _, s, _ in svds])
    np.testing.assert_allclose(found, (sides[0] * sigma) @ sides[1].T, atol=1e-10)
    U, sigma, Vt = np.linalg.svd(_merged(parts, "sum"))
    np.testing.assert_allclose(_merged(parts, "iso"), sigma[:6].mean() * U[:, :6] @ Vt[:6], atol=1e-10)


def test_settings_out_of_range():
    robust = {"method": "robust", "weights": {"a": 1}}
    for options, message in (({"rank": 0}, "rank"), ({"density": 0.0}, "density"), (robust, "robust")):
        with pytest.raises(InputError, match=message):
            Merge(**options)


def test_parts_of_an_update(parts):
    basis = Basis.of_canonical(canonicalize(LowRank(parts[1].A, parts[1].B)))
    found = {name: x.to_dense() for name, x in split(parts[0], basis).items()}
    W, U, V = parts[0].to_dense(), basis.A, basis.B
    np.testing.assert_allclose(found["project"], U @ U.T @ W @ V @ V.T, atol=1e-12)
    np.testing.assert_allclose(found["project"] + found["residual"], W, atol=1e-12)
    np.testing.assert_allclose(found["remove"], (np.eye(14) - U @ U.T) @ W @ (np.eye(11) - V @ V.T), atol=1e-12)


def test_what_the_rank_keeps_of_the_robust_mean(tmp_path):
    for seed in range(3):
        write(tmp_path / f"lora_{seed}", factors(seed))
    collection = collect([str(tmp_path)])
    left = whole = 0.0
    for path in collection.owners:
        weights = shared_subspaces({path: collection.stacks[path]}, 1)[path].weights
        updates = [part.to_numpy(np.float64).to_dense() for part in collection.read(path).values()]
        energies = np.linalg.svd(np.einsum("k,knm->nm", weights, updates), compute_uv=False) ** 2
        left, whole = left + energies[0], whole + energies.sum()
    merged = merge(collection, Merge(method="robust", rank=1))
    assert merged.kept == pytest.approx(left / whole, rel=1e-4) and merged.kept < 0.99


@pytest.mark.parametrize("to", ["peft", "diffusers", "kohya"])
def test_conversion_is_exact_and_comes_back(to, tmp_path):
    lora = open_lora(Path(write(tmp_path / "one", factors(0), alpha=7.5)))
    target = tmp_path / ("two" if to == "peft" else "two.safetensors")
    assert convert(lora, target, to) == (3, [])
    back = open_lora(target)
    assert back.layout == to and [x.rank for x in back.modules.values()] == [3, 3, 3]
    assert {x.scale for x in back.modules.values()} == {2.5}
    named = {name.replace(".", "_"): name for name in lora.modules}
    for name in back.modules:
        original = name if to != "kohya" else named[name.removeprefix("lora_")]
        expected = lora.read(original).to_dense()
        np.testing.assert_allclose(back.read(name).to_dense(), expected, atol=1e-6 * np.abs(expected).max())


def test_peft_loads_what_is_written_and_adds_the_same(tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    rng = np.random.default_rng(0)
    model = torch.nn.ModuleDict(
        {"lin": torch.nn.Linear(7, 5), "conv": torch.nn.Conv2d(2, 4, 3), "emb": torch.nn.Embedding(9, 6)}
    )
    torch.manual_seed(0)
    made = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["lin", "conv", "emb"], alpha_pattern={"lin": 3})
    )
    made.save_pretrained(tmp_path / "start")
    modules = open_lora(tmp_path / "start").modules
    updates = {
        name: LowRank(*(rng.standard_normal((size, rank)).astype(np.float32) for size in module.size))
        for (name, module), rank in zip(modules.items(), (2, 1, 2), strict=True)
    }
    write_lora(tmp_path / "written", updates, modules, base="some/model")
    fresh = torch.nn.ModuleDict(
        {"lin": torch.nn.Linear(7, 5), "conv": torch.nn.Conv2d(2, 4, 3), "emb": torch.nn.Embedding(9, 6)}
    )
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path / "written")
    layers = {name: x for name, x in loaded.named_modules() if isinstance(x, peft.tuners.lora.LoraLayer)}
    assert len(layers) == 3
    for name, layer in layers.items():
        expected = updates[name.removeprefix("base_model.model.")].to_dense()
        found = layer.get_delta_weight("default").detach().numpy().reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(InputError, match="kohya cannot hold emb"):
        write_lora(tmp_path / "k.safetensors", updates, modules, to="kohya")
    updates["lin"].A[0, 0] = np.nan
    with pytest.raises(InputError, match="lin has NaN or infinity: nothing was written"):
        write_lora(tmp_path / "no", updates, modules)
    assert not (tmp_path / "no").exists()
