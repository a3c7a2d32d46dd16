"""Real steps, compiled for chips that are not here: that they compile, what they need and which kernels they have.

They need JAX's plugins (the extra ``plan``): ``pytest -m chips`` runs one of each kind, four CPU-minutes or less;
``pytest -m "chips or every_chip"`` all of them, seven.
"""

import time
from dataclasses import replace
from functools import partial

import jax
import pytest

from experiments.accelerators.absent import compile_for
from experiments.accelerators.chips import CHIPS
from experiments.accelerators.compiling import StepProgram, TooLarge, is_installed
from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import scatters
from experiments.accelerators.layouts import LAYOUTS, USUAL, program_of
from experiments.process.mesh_sizes import MeshSizes
from vggt_jax import VGGTConfig

pytestmark = pytest.mark.slow
HEADS = ("camera_head", "depth_head", "loss")
"""Places that may compute in float32."""
GPU, TPU = (
    pytest.mark.skipif(not is_installed(CHIPS[name]), reason="needs JAX's plugin: pip install -e '.[plan]'")
    for name in ("h100", "v6e")
)
ONE, MORE = (partial(pytest.param, marks=mark) for mark in (pytest.mark.chips, pytest.mark.every_chip))


def compiled(program, chip, sizes=None):
    jax.config.update("jax_platforms", "cpu")
    return compile_for(program, CHIPS[chip], sizes)


def small():
    """A step with the heads' widths of VGGT-1B, 64 and 128 channels, and an odd number of tokens."""
    nano = VGGTConfig.nano()
    config = replace(
        nano,
        heads=("camera", "depth"),
        dtype="bfloat16",
        remat=True,
        encoder=replace(nano.encoder, num_heads=2),
        aggregator=replace(nano.aggregator, num_heads=2),
        camera=replace(nano.camera, num_heads=2, depth=1, iterations=1),
    )
    return StepProgram(config=config, rank=8, sequences=4, views=2, side=96)


def check(found, config):
    """No kernel in float32 outside the heads that a GPU or TPU would notice, no sorted scatter, attention as one kernel."""
    slow = [
        each.name
        for each in found.kernels
        if each.kind in ("products", "convolutions")
        and each.arithmetic != "bfloat16"
        and each.operations > 1e9
        and each.place.part not in HEADS
    ]
    assert not slow
    assert not list(scatters(Hlo.parse(found.text)))
    launched = {
        (kind, direction): sum(
            each.times for each in found.kernels if each.kind == kind and each.place == ("attn", direction)
        )
        for kind in ("attention", "attention's gradient")
        for direction in ("forward", "again", "backward")
    }
    blocks = 2 * config.aggregator.depth
    assert launched["attention", "forward"] == config.encoder.depth + blocks
    assert launched["attention", "again"] == 0  # its output is kept
    gradients = launched["attention's gradient", "backward"]
    assert gradients in (blocks, 2 * blocks)  # TPUs have a kernel for queries and one for keys


@GPU
@pytest.mark.chips
def test_vggt_1b_on_an_h100():
    program, begun = program_of("vggt_1b", LAYOUTS[USUAL], 8), time.process_time()
    found = compiled(program, "h100")
    assert time.process_time() - begun < 180
    assert found.peak < 31e9
    check(found, program.config)


@GPU
@pytest.mark.parametrize("chip", [ONE("a100"), MORE("rtx4090"), MORE("rtx3090")])
def test_other_gpus(chip):
    check(compiled(small(), chip), small().config)


@GPU
@pytest.mark.parametrize("mesh", [ONE("adapter:2,model:2"), MORE("data:2")])
def test_several_gpus(mesh):
    sizes = MeshSizes.of(mesh)
    check(compiled(replace(small(), adapters=sizes.adapter), "h100", sizes), small().config)


@TPU
@pytest.mark.parametrize("chip", [ONE("v6e"), MORE("v5e"), MORE("v5p")])
def test_tpus(chip):
    found = compiled(small(), chip)
    assert found.arguments < found.peak < 2e9
    check(found, small().config)


@TPU
@pytest.mark.every_chip
def test_16_pictures_on_a_v6e():
    program = replace(program_of("vggt_1b", LAYOUTS[USUAL], 8), sequences=2)
    found = compiled(program, "v6e")
    assert found.peak < CHIPS["v6e"].usable
    check(found, program.config)


@TPU
@pytest.mark.every_chip
def test_what_a_tpu_cannot_hold_is_refused():
    with pytest.raises(TooLarge):
        compiled(program_of("vggt_1b", LAYOUTS[USUAL], 8), "v5e")
