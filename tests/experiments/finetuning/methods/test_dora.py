"""DoRA against PEFT's on a small network: outputs, gradients and merged weights; and its file."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from experiments.finetuning.methods.dora import DoRA
from experiments.finetuning.methods.lora import LoRA
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.finetuning import small
from vggt_jax import merge, unmerge
from vggt_jax.adaptable import ConvGeometry, Matrix
from vggt_jax.adapters import Adapter, load_adapter, save_adapter
from vggt_jax.deltas import WeightDecomposed
from vggt_jax.layers import Conv, Linear

RANK, SCALE = 3, 2.0
CONV = {"kernel": 3, "stride": 2, "padding": 1}
MATRICES = {"linear": Matrix((), 7, 5), "conv": Matrix((), 6, 4 * 9, ConvGeometry(3, 2, 1))}


class Network(nnx.Module):
    """A linear layer and a convolution, each on its own input."""

    def __init__(self):
        self.linear = Linear(5, 7, rngs=nnx.Rngs(0))
        self.conv = Conv(4, 6, **CONV, rngs=nnx.Rngs(1))


@pytest.fixture(scope="module")
def network():
    return nnx.split(Network())


@pytest.fixture
def pefts(network):
    """The same network with PEFT's DoRA, and values in every factor; magnitudes are those of the start."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {"linear": torch.nn.Linear(5, 7), "conv": torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)}
    )
    ours = nnx.merge(*network)
    with torch.no_grad():
        model["linear"].weight.copy_(torch.from_numpy(np.array(ours.linear.kernel[...].T)))
        model["conv"].weight.copy_(torch.from_numpy(np.array(ours.conv.kernel[...].transpose(3, 2, 0, 1))))
        for name in MATRICES:
            model[name].bias.copy_(torch.from_numpy(np.array(getattr(ours, name).bias[...])))
    config = peft.LoraConfig(target_modules=list(MATRICES), r=RANK, lora_alpha=SCALE * RANK, use_dora=True)
    return peft.get_peft_model(model, config)


def layer(pefts, name):
    return pefts.base_model.model.get_submodule(name)


def noise(pefts):
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in pefts.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand(parameter.shape, generator=generator))
    return pefts


def parameters(pefts, read):
    """What ``read`` finds at PEFT's parameters, in our form: path → (A and B without the scale, magnitude)."""
    found = {}
    for name, matrix in MATRICES.items():
        own = layer(pefts, name)
        A = read(own.lora_B["default"].weight).reshape(matrix.n, RANK)
        B = read(own.lora_A["default"].weight).reshape(RANK, matrix.m).T
        magnitude = read(own.lora_magnitude_vector["default"].weight).reshape(-1)
        found[name] = (LowRank(jnp.asarray(A), jnp.asarray(B)), jnp.asarray(magnitude))
    return found


def data(parameter):
    return parameter.detach().numpy().copy()


def gradient(parameter):
    return parameter.grad.numpy().copy()


def inputs():
    rng = np.random.default_rng(2)
    return {
        "linear": rng.normal(size=(3, 5)).astype(np.float32),
        "conv": rng.normal(size=(2, 5, 8, 4)).astype(np.float32),
    }


def outputs(network, maker, params):
    graphdef, state = network
    model, deltas = nnx.merge(graphdef, state), maker.deltas(params)
    return {name: getattr(model, name)(jnp.asarray(x), deltas[name]) for name, x in inputs().items()}


def pefts_outputs(pefts):
    """By layer, channels last."""
    import torch

    found = {}
    for name, x in inputs().items():
        swapped = torch.from_numpy(x.transpose(0, 3, 1, 2) if name == "conv" else x)
        y = layer(pefts, name)(swapped)
        found[name] = y.permute(0, 2, 3, 1) if name == "conv" else y
    return found


def maker_of(network):
    return DoRA(rank=RANK, scale=SCALE).maker(network[1], MATRICES)


def test_outputs_and_gradients_are_pefts(network, pefts):
    maker = maker_of(network)
    params = parameters(noise(pefts), data)
    expected = pefts_outputs(pefts)
    found = outputs(network, maker, params)
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y.detach(), rtol=1e-4, atol=1e-5)
    ((expected["linear"] ** 3).sum() + (expected["conv"] ** 3).sum()).backward()

    def loss(params):
        return sum(jnp.sum(y**3) for y in outputs(network, maker, params).values())

    gradients = jax.jit(jax.grad(loss))(params)
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(parameters(pefts, gradient)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3 * np.abs(other).max())


def test_merged_weights_are_pefts(network, pefts):
    deltas = maker_of(network).deltas(parameters(noise(pefts), data))
    merged = nnx.merge(network[0], merge(network[1], deltas))
    expected = pefts.merge_and_unload().state_dict()
    np.testing.assert_allclose(merged.linear.kernel[...].T, expected["linear.weight"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        merged.conv.kernel[...].transpose(3, 2, 0, 1), expected["conv.weight"], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(InputError, match="is no low-rank matrix"):
        unmerge(network[1], deltas)


def test_training_starts_at_the_base_model_with_pefts_magnitudes(network, pefts):
    maker = maker_of(network)
    params = maker.init(jax.random.key(0))
    for name, (_, magnitude) in parameters(pefts, data).items():
        np.testing.assert_allclose(params[name][1], magnitude, rtol=1e-6)
    plain = nnx.merge(*network)
    for name, y in outputs(network, maker, params).items():
        np.testing.assert_allclose(y, getattr(plain, name)(jnp.asarray(inputs()[name])), atol=1e-6)


def test_a_row_of_zeros_stays_finite():
    update = WeightDecomposed(LowRank(jnp.zeros((2, 1)), jnp.zeros((3, 1))), jnp.array([0.0, 2.0]))
    np.testing.assert_array_equal(update.gain(jnp.array([[0.0, 0, 0], [0, 1, 0]])), [0, 2])


def test_one_number_more_for_every_output_than_lora():
    config = small.tiny.CONFIG
    outputs = sum(prod(matrix.stack) * matrix.n for matrix in small.matrices().values())
    assert DoRA(rank=4).count(config).total - LoRA(rank=4).count(config).total == outputs


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The tiny model, numbers as training might leave them, and the adapter that is read from their file."""
    folder, base = tmp_path_factory.mktemp("dora"), small.base()
    settings = small.settings("dora", folder)
    trainable = settings.method.trainable(base, settings)
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda leaf: np.asarray(leaf[0]) + 0.1 * rng.normal(size=leaf.shape[1:]).astype(np.float32), trainable.params
    )
    file = trainable.write(folder, trained, {"method": "dora"})
    return base, trainable.frozen.maker.deltas(trained), load_adapter(file, base.identity)


def test_its_file_holds_what_was_trained(saved):
    _, expected, adapter = saved
    assert adapter.deltas.keys() == expected.keys() and adapter.scale == 1
    for path, delta in adapter.deltas.items():
        assert isinstance(delta, WeightDecomposed)
        for one, other in zip(jax.tree.leaves(delta), jax.tree.leaves(expected[path]), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_whole_model_computes_with_it_what_merged_weights_compute(saved):
    """Of stacked layers, lone ones and a convolution."""
    base, _, adapter = saved
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 2, 16, 16, 3)), jnp.float32)
    forward = jax.jit(lambda params, deltas: nnx.merge(base.graphdef, params)(images, deltas=deltas).depth)
    found, plain = (forward(base.parameters, deltas) for deltas in (dict(adapter.deltas), {}))
    np.testing.assert_allclose(forward(merge(base.parameters, adapter.deltas), {}), found, rtol=1e-3)
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("missing", ["magnitude", "A"])
def test_a_file_that_lacks_a_tensor_is_refused(missing, tmp_path):
    base = small.base()
    n, m = small.matrices()["depth_head.projects.0"].n, small.matrices()["depth_head.projects.0"].m
    update = WeightDecomposed(LowRank(jnp.ones((n, 1)), jnp.ones((m, 1))), jnp.ones(n))
    file = tmp_path / "adapter.safetensors"
    save_adapter(file, Adapter({"depth_head.projects.0": update}, base.identity))
    with safe_open(file, "np") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    del tensors[f"depth_head.projects.0.{missing}"]
    save_file(tensors, file, header)
    with pytest.raises(InputError, match=f"missing: depth_head.projects.0.{missing}"):
        load_adapter(file)
