import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.accelerators.adapter_step import AdapterStep, subspace_form
from experiments.benchmarks import model_forward, step_memory
from experiments.finetuning.methods.psv import PSV
from vggt_jax import VGGTConfig
from vggt_jax.adapters import trained_numbers
from vggt_jax.parameters import abstract_model


def test_random_weights_keep_the_size_of_activations():
    shapes = nnx.state(abstract_model(VGGTConfig.nano()))
    found = dict(nnx.to_flat_state(model_forward.random_parameters(shapes)))
    for keys, leaf in nnx.to_flat_state(shapes):
        values = np.asarray(found[keys])
        assert (values.shape, values.dtype) == (leaf.shape, jnp.float32)
        if keys[-1] == "kernel":
            inputs = values.shape[-2] * (np.prod(values.shape[:2]) if values.ndim == 4 else 1)
            assert 0.9 < np.abs(values).max() * np.sqrt(inputs) <= 1, keys
        else:
            assert (values == 1).all(), keys


def test_bases_of_the_benchmark_are_orthonormal_and_can_be_abstract():
    config = VGGTConfig.nano()
    real, abstract = (subspace_form(config, 16, abstract=is_abstract) for is_abstract in (False, True))
    expected = PSV(dim=16, plain=None).count(config).total
    assert sum(trained_numbers(real).values()) == sum(trained_numbers(abstract).values()) == expected
    for path, basis in real.bases.items():
        for side in "AB":
            columns, shapes = getattr(basis, side), getattr(abstract.bases[path], side)
            assert (columns.shape, columns.dtype) == (shapes.shape, shapes.dtype)
            gram = np.asarray(columns).mT @ np.asarray(columns)
            np.testing.assert_allclose(gram, np.broadcast_to(np.eye(gram.shape[-1]), gram.shape), atol=1e-5)
    state = AdapterStep.of(config, abstract).state
    assert state.params["aggregator.frame_blocks.attn.qkv"].shape[-2:] == (16, 16)


@pytest.mark.slow
def test_a_training_step_on_eight_images_fits_a_small_gpu():
    arguments, temporary = step_memory.planned(1, 8, remat=True)
    assert 2e9 < arguments < 3e9
    assert arguments + temporary < 24e9
