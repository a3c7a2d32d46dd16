"""The controls of Ours: random directions, the mean adapter, one subspace for all, and shuffled attributes."""

import jax
import numpy as np
import pytest

from experiments.finetuning.methods.mean import Mean
from experiments.finetuning.methods.pooled import Pooled, principal
from experiments.finetuning.methods.random import Random, random_bases
from experiments.finetuning.methods.shuffled import Shuffled
from experiments.finetuning.methods.subspace import Subspace
from experiments.finetuning.of_adapters import dealt, read_adapters
from subspace import LowRank, shared_subspaces
from subspace.errors import InputError
from tests.experiments.finetuning import small
from vggt_jax.adaptable import Matrix

QKV = "aggregator.frame_blocks.attn.qkv"
CHOSEN = {path: small.matrices()[path] for path in (QKV, "depth_head.projects.0")}


@pytest.fixture(scope="module")
def base():
    return small.base()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, base):
    folder = tmp_path_factory.mktemp("subspaces")
    return tuple(
        small.subspace_folder(folder / name, name, i, base=base, adapters=True)
        for i, name in enumerate(("texture", "camera"))
    )


@pytest.fixture(scope="module")
def mined(folders, base):
    return Subspace(subspaces=folders, matrices=tuple(CHOSEN), plain=None).read(base)[0]


def projection(columns):
    return columns @ columns.swapaxes(-1, -2)


def test_random_directions_are_orthonormal_drawn_by_the_seed_and_as_many_as_asked_for():
    matrices = {"a": Matrix((2,), 6, 9), "b": Matrix((), 3, 8)}
    first, same, other = (random_bases(matrices, 4, seed) for seed in (0, 0, 1))
    for path, side in (("a", 4), ("b", 3)):
        for directions in (np.asarray(first[path].A), np.asarray(first[path].B)):
            gram = directions.swapaxes(-1, -2) @ directions
            np.testing.assert_allclose(gram, np.broadcast_to(np.eye(side), gram.shape), atol=1e-6)
        np.testing.assert_array_equal(first[path].B, same[path].B)
        assert not np.allclose(projection(np.asarray(first[path].B)), projection(np.asarray(other[path].B)))


def test_random_directions_follow_the_seed_of_the_run(base, tmp_path):
    runs = [small.settings("random", tmp_path, seed=seed, matrices=(QKV,), plain=(), dim=2) for seed in (0, 0, 1)]
    bases = [np.asarray(run.method.trainable(base, run).frozen.maker.bases[QKV].A) for run in runs]
    np.testing.assert_array_equal(bases[0], bases[1])
    assert not np.allclose(bases[0], bases[2])
    assert isinstance(runs[0].method, Random)


def test_m_starts_at_the_mean_adapter(base, folders, mined, tmp_path):
    settings = small.settings("mean", tmp_path, matrices=(QKV,), plain=(), subspaces=folders)
    assert isinstance(settings.method, Mean)
    trainable = settings.method.trainable(base, settings)
    params = jax.tree.map(lambda leaf: leaf[0], trainable.params)
    delta = trainable.frozen.maker.deltas(params)[QKV].to_dense()
    own = [each.factors[QKV] for each in mined.values()]
    expected = np.mean([each.A @ each.B.swapaxes(-1, -2) for each in own], axis=0)
    np.testing.assert_allclose(delta, expected, atol=1e-5)  # the union of the attributes holds all of it


def test_pooled_directions_are_the_principal_ones_of_all_updates():
    rng = np.random.default_rng(0)
    updates = [LowRank(rng.normal(size=(2, 7, 2)), rng.normal(size=(2, 5, 2))) for _ in range(4)]
    found = principal(updates, 3)
    for layer in range(2):
        dense = [update.A[layer] @ update.B[layer].T for update in updates]
        for directions, of in ((found.A, [x @ x.T for x in dense]), (found.B, [x.T @ x for x in dense])):
            leading = np.linalg.eigh(sum(of))[1][:, -3:]
            np.testing.assert_allclose(projection(np.asarray(directions[layer])), projection(leading), atol=1e-5)
    with pytest.raises(InputError, match="1 adapters span 2 directions, not 3"):
        principal(updates[:1], 3)


def test_pooled_has_as_many_directions_as_ours(mined, folders):
    bases, about = Pooled(subspaces=folders, dim=1, plain=None).bases(mined, CHOSEN, 0)
    assert {basis.A.shape[-1] for basis in bases.values()} == {2} and about == {"adapters": 6}


def test_every_group_of_shuffled_adapters_has_some_of_every_attribute():
    adapters = {name: [{name: i} for i in range(4)] for name in ("a", "b")}
    groups = dealt(adapters, 0)  # pyright: ignore[reportArgumentType]
    assert [len(group) for group in groups] == [4, 4]
    assert all([next(iter(each)) for each in group].count("a") == 2 for group in groups)
    assert sorted(str(each) for group in groups for each in group) == sorted(
        str(x) for own in adapters.values() for x in own
    )
    assert dealt(adapters, 1) != groups  # pyright: ignore[reportArgumentType]


def test_shuffled_subspaces_are_mined_from_the_groups(mined, folders):
    method = Shuffled(subspaces=folders, plain=None)
    bases, about = method.bases(mined, CHOSEN, 3)
    groups = dealt(read_adapters(mined), 3)
    stacks = [jax.tree.map(lambda *x: np.stack(x), *(each[QKV] for each in group)) for group in groups]
    spanned = [np.asarray(shared_subspaces({"x": stack}, 2)["x"].factors.A) for stack in stacks]
    expected = np.linalg.qr(np.concatenate(spanned, axis=-1))[0]
    np.testing.assert_allclose(projection(np.asarray(bases[QKV].A)), projection(expected), atol=1e-4)
    assert about == {"mean_directions_texture": 2, "mean_directions_camera": 2}


def test_folders_without_adapters_are_refused_and_adapters_count(base, folders, tmp_path):
    plain = small.subspace_folder(tmp_path / "plain", "texture", 0, base=base)
    without = Pooled(subspaces=(plain,), matrices=(QKV,), plain=None)
    with pytest.raises(InputError, match="keeps no copies of its adapters"):
        without.bases(without.read(base)[0], {QKV: CHOSEN[QKV]}, 0)
    inputs = Shuffled(subspaces=folders, matrices=(QKV,), plain=None).inputs(base)
    assert inputs.keys() == {"subspaces", "adapters of texture", "adapters of camera"}
