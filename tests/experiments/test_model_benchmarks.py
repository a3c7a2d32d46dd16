import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.benchmarks import model_forward, step_memory
from vggt_jax import VGGTConfig
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


@pytest.mark.slow
def test_a_training_step_on_eight_images_fits_a_small_gpu():
    arguments, temporary = step_memory.planned(1, 8, remat=True)
    assert 2e9 < arguments < 3e9
    assert arguments + temporary < 24e9
