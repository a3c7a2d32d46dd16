from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from tests import quick_compilation
from vggt_jax import VGGT, VGGTConfig
from vggt_jax.parameters import abstract_model
from weights_convert.names import from_official

FIXTURES = Path(__file__).parents[1] / "fixtures"


class Small(NamedTuple):
    """The small official model of ``tests/fixtures/vggt_small``."""

    config: VGGTConfig
    graphdef: nnx.GraphDef
    params: nnx.State

    def model(self) -> VGGT:
        return nnx.merge(self.graphdef, self.params)


@pytest.fixture(scope="session")
def small() -> Small:
    folder = FIXTURES / "vggt_small"
    config = VGGTConfig.from_json(folder / "config.json")
    params = from_official(load_file(folder / "weights.safetensors"), config)
    return Small(config, nnx.graphdef(abstract_model(config)), params)


@pytest.fixture(scope="session")
def reference():
    """``reference("case_a")``: the arrays of ``tests/fixtures/vggt_small/case_a.npz``, images channels last."""

    @cache
    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(FIXTURES / "vggt_small" / f"{name}.npz") as stored:
            arrays = dict(stored)
        if "images" in arrays:
            arrays["images"] = arrays["images"].transpose(0, 1, 3, 4, 2)
        return arrays

    return read


def error(found, expected) -> float:
    """Largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="session")
def error_of():
    return error


@pytest.fixture(scope="session")
def as_users_jit():
    """``jax.jit`` with XLA's own settings: one comparison with the official model of each kind (outputs, gradients)."""
    return partial(jax.jit, compiler_options=quick_compilation.AS_USERS if jax.default_backend() == "cpu" else None)


@pytest.fixture(scope="session")
def tiny() -> VGGTConfig:
    """A VGGT that compiles quickly, for properties that need no reference."""
    return VGGTConfig.from_json(
        {
            "image_size": 16,
            "patch_size": 4,
            "width": 16,
            "encoder": {"depth": 2, "num_heads": 2, "num_registers": 1},
            "aggregator": {"depth": 4, "num_heads": 2, "num_registers": 1, "layer_scale": 1.0},
            "camera": {"depth": 2, "num_heads": 2, "iterations": 3, "layer_scale": 1.0},
            "depth": {"features": 8, "out_channels": [8, 8, 8, 8], "layers": [0, 1, 2, 3], "last_features": 4},
            "heads": ["camera", "depth"],
        }
    )


def random_model(config: VGGTConfig, seed: int) -> VGGT:
    """A model without a single trivial entry, drawn by NumPy: much faster than to compile the initialisers."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape).astype(np.float32)
        name = str(path[-1])
        if name == "kernel":
            fan_in = leaf.shape[-2] if leaf.ndim < 4 else np.prod(leaf.shape[:3])
            values /= np.sqrt(fan_in)
        elif name in ("scale", "gamma"):
            values = 1 + 0.3 * values
        else:
            values *= 0.3
        return path, leaf.replace(jnp.asarray(values))

    graphdef, params = nnx.split(abstract_model(config))
    return nnx.merge(graphdef, nnx.from_flat_state([draw(path, leaf) for path, leaf in nnx.to_flat_state(params)]))


@pytest.fixture(scope="session")
def random_model_of():
    return random_model


@pytest.fixture
def tiny_model(tiny) -> VGGT:
    """A model of the tiny configuration; a fresh one for each test, as modules are mutable."""
    return random_model(tiny, 0)


@pytest.fixture(scope="session")
def tiny_images():
    return jax.random.uniform(jax.random.key(5), (1, 3, 16, 16, 3), jnp.float32)
