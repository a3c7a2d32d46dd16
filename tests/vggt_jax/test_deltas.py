"""Low-rank updates beside the parameters, on every weight that may have one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from subspace import LowRank
from vggt_jax import merge, unmerge
from vggt_jax.adaptable import adaptable
from vggt_jax.deltas import WeightDecomposed, dotted
from weights_convert.names import to_official

RANK = 2


def draw(matrices, seed, rank=RANK):
    """A sizeable update of each matrix: dW about a third of the weight."""
    rng = np.random.default_rng(seed)

    def factor(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {
        path: LowRank(
            factor(*matrix.stack, matrix.n, rank), factor(*matrix.stack, matrix.m, rank) * 0.3 / matrix.m**0.5
        )
        for path, matrix in matrices.items()
    }


@pytest.fixture(scope="module")
def setup(tiny, random_model_of):
    graphdef, params = nnx.split(random_model_of(tiny, 0))
    return graphdef, params, adaptable(nnx.merge(graphdef, params))


@pytest.fixture(scope="module")
def loss(setup, tiny_images):
    """A loss that every adaptable weight has a gradient in, of parameters, updates and images."""
    graphdef, _, _ = setup

    def loss(params, deltas, images):
        found = nnx.merge(graphdef, params)(images, deltas=deltas)
        leaves = (found.pose_enc_list, found.depth, found.depth_conf)
        return sum(jnp.mean(jnp.sin(3 * leaf)) for leaf in leaves)

    return loss


@pytest.fixture(scope="module")
def gradients_of(loss):
    """The loss, and its gradients by parameters and updates."""
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


@pytest.fixture(scope="module")
def predict(setup, tiny_images):
    graphdef, _, _ = setup
    return jax.jit(lambda params, deltas: nnx.merge(graphdef, params)(tiny_images, deltas=deltas))


def close(one, other, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-6)


def test_covers_every_linear_and_convolution_of_the_four_parts(setup):
    _, _, matrices = setup
    blocks = {f"{linear}" for linear in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    assert {p for p in matrices if p.startswith("aggregator")} == {
        f"aggregator.{kind}_blocks.{linear}" for kind in ("frame", "global") for linear in blocks
    }
    camera = {f"camera_head.trunk.{linear}" for linear in blocks}
    camera |= {
        f"camera_head.{name}" for name in ("embed_pose", "poseLN_modulation.1", "pose_branch.fc1", "pose_branch.fc2")
    }
    assert {p for p in matrices if p.startswith("camera")} == camera
    convs = {p for p in matrices if p.startswith("depth")}
    assert len(convs) == 30 and not any("resize_layers.0" in p or "resize_layers.1" in p for p in convs)
    assert matrices["depth_head.resize_layers.3"].conv.stride == 2
    assert matrices["depth_head.resize_layers.3"].m == 8 * 9


def test_updates_act_like_merged_weights(setup, predict):
    _, params, matrices = setup
    deltas = draw(matrices, 1)
    merged = merge(params, deltas)
    with_deltas = predict(params, deltas)
    none = {path: LowRank(0 * d.A, d.B) for path, d in deltas.items()}
    plain = predict(params, none)
    close(with_deltas, predict(merged, none))
    assert np.abs(with_deltas.depth - plain.depth).max() > 0.05
    assert np.abs(with_deltas.pose_enc - plain.pose_enc).max() > 0.05
    for kept, back in zip(jax.tree.leaves(params), jax.tree.leaves(unmerge(merged, deltas)), strict=True):
        np.testing.assert_allclose(back, kept, atol=1e-6)


def test_every_update_has_an_effect_of_its_own(setup, predict):
    """One merged matrix at a time, all updates zero but its own: no path is crossed with another."""
    _, params, matrices = setup
    deltas = draw(matrices, 2)
    none = {path: LowRank(0 * d.A, d.B) for path, d in deltas.items()}
    plain = predict(params, none)
    for path in matrices:
        alone = predict(params, none | {path: deltas[path]})
        close(alone, predict(merge(params, {path: deltas[path]}), none))
        assert any(
            np.abs(a - b).max() > 1e-4 for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(plain), strict=True)
        ), path


def test_merged_convolution_has_pytorch_order(setup):
    _, params, matrices = setup
    deltas = draw(matrices, 3)
    before, after = to_official(params), to_official(merge(params, deltas))
    for path in ("depth_head.resize_layers.3", "depth_head.projects.1", "depth_head.scratch.output_conv2.0"):
        dense = np.asarray(deltas[path].to_dense())
        name = f"{path}.weight"
        np.testing.assert_allclose(after[name] - before[name], dense.reshape(before[name].shape), atol=1e-6)
    path = "aggregator.global_blocks.mlp.fc1"
    name = "aggregator.global_blocks.2.mlp.fc1.weight"
    np.testing.assert_allclose(after[name] - before[name], deltas[path].to_dense()[2], atol=1e-6)


@pytest.mark.slow
def test_adapters_together_on_one_base_equal_adapters_in_turn(setup, loss, gradients_of, tiny_images):
    _, params, matrices = setup
    several = [draw(matrices, seed) for seed in (4, 5, 6)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    images = jnp.stack([tiny_images, tiny_images[:, ::-1], tiny_images**2])
    gradient = jax.value_and_grad(loss, argnums=1)
    together = jax.jit(jax.vmap(gradient, in_axes=(None, 0, 0)))(params, stacked, images)
    for i, deltas in enumerate(several):
        value, (_, gradients) = gradients_of(params, deltas, images[i])
        np.testing.assert_allclose(together[0][i], value, rtol=1e-5, atol=1e-6)
        for path in matrices:
            close(jax.tree.map(lambda leaf, i=i: leaf[i], together[1][path]), gradients[path], 1e-4)
            assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients[path])), path


@pytest.mark.slow
def test_gradients_of_factors_are_those_of_the_weights(setup, gradients_of, tiny_images):
    """dA = G B and dB = Gᵀ A, where G is the gradient by the merged weight."""
    _, params, matrices = setup
    deltas = draw(matrices, 7)
    _, (_, by_factor) = gradients_of(params, deltas, tiny_images)
    none = {path: LowRank(0 * d.A, d.B) for path, d in deltas.items()}
    _, (gradients, _) = gradients_of(merge(params, deltas), none, tiny_images)
    by_weight = to_official(gradients)
    for path, layer in (
        ("aggregator.frame_blocks.attn.qkv", 1),
        ("camera_head.trunk.mlp.fc2", 0),
        ("depth_head.scratch.refinenet2.resConfUnit1.conv1", None),
    ):
        name = path if layer is None else path.replace("blocks", f"blocks.{layer}").replace("trunk", f"trunk.{layer}")
        weight = by_weight[f"{name}.weight"]
        delta, found = (x[path] if layer is None else x[path][layer] for x in (deltas, by_factor))
        weight = weight.reshape(weight.shape[0], -1)
        close(found.A, weight @ delta.B, 1e-4)
        close(found.B, weight.T @ delta.A, 1e-4)


def test_what_does_not_fit_is_listed_at_once(setup, tiny_images):
    graphdef, params, matrices = setup
    deltas = draw(matrices, 8)
    qkv = deltas["aggregator.frame_blocks.attn.qkv"]
    wrong = {
        "aggregator.patch_embed.blocks.attn.qkv": qkv,
        "depth_head.projects.9": qkv,
        "aggregator.frame_blocks.attn.proj": qkv,
        "aggregator.global_blocks.attn.qkv": qkv.mT,
    }
    with pytest.raises(ValueError) as raised:
        nnx.merge(graphdef, params)(tiny_images, deltas=wrong)
    message = str(raised.value)
    assert "aggregator.patch_embed.blocks.attn.qkv: the model has no adaptable matrix" in message
    assert "depth_head.projects.9: the model has no adaptable matrix" in message
    assert "aggregator.frame_blocks.attn.proj: needs A (4, 16, 2) and B (4, 16, 2), got A (4, 48, 2)" in message
    assert "aggregator.global_blocks.attn.qkv: needs A (4, 48, 2)" in message


def test_merge_names_what_does_not_fit(setup):
    _, params, matrices = setup
    deltas = draw(matrices, 9)
    with pytest.raises(ValueError, match=r"no aggregator\.blocks\.kernel"):
        merge(params, {"aggregator.blocks": deltas["depth_head.projects.0"]})
    with pytest.raises(ValueError, match=r"aggregator\.frame_blocks\.attn\.qkv has dW \(4, 64, 16\)"):
        merge(params, {"aggregator.frame_blocks.attn.qkv": deltas["aggregator.frame_blocks.mlp.fc1"]})
    with pytest.raises(ValueError, match=r"depth_head\.projects\.0 has dW \(8, 72\)"):
        merge(params, {"depth_head.projects.0": deltas["depth_head.resize_layers.3"]})
    for magnitude in (jnp.ones(1), jnp.ones((4, 1)), jnp.ones((1, 48))):
        dora = WeightDecomposed(deltas["aggregator.frame_blocks.attn.qkv"], magnitude)
        with pytest.raises(ValueError, match=r"attn\.qkv has a magnitude \(.*\), needed is \(4, 48\)"):
            merge(params, {"aggregator.frame_blocks.attn.qkv": dora})


def test_a_parameter_has_one_name_however_its_keys_are_found():
    state = nnx.state(nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0))))
    names = [dotted(keys) for keys, _ in nnx.to_flat_state(state)]
    assert names == [dotted(keys) for keys, _ in jax.tree.leaves_with_path(state)]
    assert sorted(names) == ["layers.0.bias", "layers.0.kernel"]
