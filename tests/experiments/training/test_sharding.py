import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from experiments.process.mesh_sizes import MeshSizes
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sharding import Placement, choose_mesh, make_mesh, weight_spec
from experiments.training.step import start
from subspace.errors import InputError
from tests.experiments.training import tiny
from vggt_jax import VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.parameters import abstract_model

ROOT = Path(__file__).parents[3]


def on_devices(count, module, *arguments):
    """The lines that ``module`` prints, in a process with so many CPU devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", f"tests.experiments.training.{module}", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


MESHES = [(2, 2, 2), (1, 1, 8), (2, 1, 4)]
"""Devices along adapters, data and weights."""


@pytest.fixture(scope="module")
def on_eight_devices():
    """By its sizes, what each mesh gives: one process, as all are compared with the same steps on one device."""
    meshes = [dict(zip(("adapter", "data", "model"), sizes, strict=True)) for sizes in MESHES]
    return dict(zip(MESHES, on_devices(8, "sharded_step", json.dumps(meshes)), strict=True))


@pytest.mark.slow
def test_every_mesh_of_two_devices_and_parts_of_a_batch_equal_one_device():
    (errors,) = on_devices(2, "two_devices")
    assert len(errors) == 6
    assert max(errors.values()) < 1e-5, errors


def assert_same_training(found):
    assert found["devices"] == 8
    assert found["error"] < 5e-4, found
    assert found["compilations"] == 1


@pytest.mark.slow
def test_eight_devices_along_all_axes_equal_one(on_eight_devices):
    found = on_eight_devices[MESHES[0]]
    assert_same_training(found)
    assert found["base"] == [4, 8, 12]  # 3C = 24 columns on two devices
    assert found["adapters"] == [2, 4, 24, 2]  # four adapters on two


@pytest.mark.slow
@pytest.mark.parametrize("sizes", MESHES[1:])
def test_other_meshes_equal_one_device(sizes, on_eight_devices):
    assert_same_training(on_eight_devices[sizes])


def test_large_matrices_of_all_transformers_are_split():
    """At the paper's size, 8 devices hold at most a third of the parameters each: the dense heads are on all of them."""
    leaves = jax.tree.leaves_with_path(nnx.split(abstract_model(VGGTConfig.vggt_1b()))[1])
    held = total = 0
    for path, leaf in leaves:
        spec = weight_spec(dotted(path), leaf.shape, 8)
        held += leaf.size / (8 if "model" in spec else 1)
        total += leaf.size
    assert total == 1_256_537_516
    assert held < total / 3


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("aggregator.frame_blocks.attn.qkv.kernel", (24, 1024, 3072), P(None, None, "model")),
        ("aggregator.frame_blocks.attn.qkv.bias", (24, 3072), P(None, "model")),
        ("camera_head.trunk.mlp.fc2.kernel", (4, 8192, 2048), P(None, "model", None)),
        ("camera_head.trunk.mlp.fc2.bias", (4, 2048), P()),
        ("aggregator.frame_blocks.mlp.fc1.kernel", (24, 1024, 4098), P()),
        ("depth_head.projects.0.kernel", (1, 1, 2048, 256), P()),
    ],
)
def test_rule(path, shape, expected):
    assert weight_spec(path, shape, 4) == expected


def test_states_are_split_by_adapters_and_trained_weights_like_the_bases():
    optimizer = make_optimizer(OptimizerSettings(1))
    _, base = tiny.draw_base()
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), base)
    state = jax.eval_shape(lambda params: start(params, optimizer), params)
    shardings = Placement(make_mesh(devices=jax.devices()[:1])).of_state(state)
    specs = {dotted(path): sharding.spec for path, sharding in jax.tree.leaves_with_path(shardings)}
    assert specs["step"] == P() and specs["skipped"] == P("adapter")
    kernels = [name for name in specs if name.endswith("global_blocks.attn.qkv.kernel")]
    assert len(kernels) == 3  # the weight and its two moments
    assert all(specs[name] == P("adapter", None, None, "model") for name in kernels)
    assert specs["params.depth_head.projects.0.kernel"] == P("adapter")


def test_a_step_on_one_device_is_compiled_once():
    """The state that it begins with is told apart from its own results by nothing."""
    _, base = tiny.draw_base()
    first = start(jax.tree.map(lambda leaf: leaf[None], base), make_optimizer(OptimizerSettings(1)))
    placement = Placement(make_mesh(devices=jax.devices()[:1]))

    def step(state, frozen, batch):
        return replace(state, step=state.step + 1), frozen["x"] + batch

    state, frozen, batch = placement.state(first), placement.frozen({"x": jnp.ones(3)}), np.ones(3)
    compiled = placement.compile(step, state)
    for number in range(3):
        state, metrics = compiled(state, frozen, batch)
        assert int(state.step) == number + 1 and metrics[0] == 2
    assert compiled._cache_size() == 1


def test_mesh_takes_the_devices_that_are_there():
    assert dict(make_mesh(devices=jax.devices()[:1]).shape) == {"adapter": 1, "data": 1, "model": 1}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"adapter": 3}, "adapter 3 × data 1 × model 1 = 3, but there are 1 devices"), ({"model": 0}, "at least 1")],
)
def test_mesh_that_does_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(**sizes, devices=jax.devices()[:1])


@pytest.mark.parametrize(
    ("k", "sequences", "devices", "sizes"),
    [
        (10, (8, 4, 2), 1, (1, 1, 1)),
        (10, (8, 4, 2), 2, (2, 1, 1)),
        (10, (8, 4, 2), 4, (2, 2, 1)),  # five groups in half of the time, where four at a time would be three
        (10, (8, 4, 2), 8, (4, 2, 1)),
        (5, (8,), 8, (1, 8, 1)),
        (1, (8, 4, 2), 8, (1, 2, 1)),  # 16 views stay: six devices have nothing to do
        (1, (3,), 2, (1, 1, 1)),
    ],
)
def test_as_many_devices_are_taken_as_have_something_to_do(k, sequences, devices, sizes):
    found = choose_mesh(None, adapters=k, sequences=sequences, devices=[None] * devices)
    assert tuple(found.shape.values()) == sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adapter:2", "= 2, but there are 4 devices"),
        ("adapter:4", "adapter:4 has nothing to do for 3 adapter"),
        ("data:4", "batches of 2 sequences cannot be shared evenly by data:4"),
    ],
)
def test_a_mesh_that_cannot_be_had_is_refused(text, message):
    with pytest.raises(InputError, match=message) as refused:
        choose_mesh(MeshSizes.of(text), adapters=3, sequences=(8, 4, 2), devices=[None] * 4)
    assert refused.value.argument == "mesh"


def test_what_cannot_be_split_is_named():
    placement = Placement(SimpleNamespace(shape={"adapter": 2, "data": 3, "model": 1}))
    with pytest.raises(ValueError, match="3 adapters cannot be split over adapter = 2 devices"):
        placement.batch(tiny.draw_batch(0, 3, 3, 1))
    with pytest.raises(ValueError, match="2 sequences of a batch cannot be split over data = 3 devices"):
        placement.batch(tiny.draw_batch(0, 2, 2, 1))
