"""``python -m experiments.benchmark model``: VGGT-1B's forward pass, each case in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmarks import flops, machine, transformer_block
from experiments.finetuning.methods.full import Full
from experiments.finetuning.methods.lora import LoRA
from vggt_jax import Predictions, VGGTConfig
from vggt_jax.parameters import abstract_model

OFFICIAL = {(1, 280): "9.4 s, 5.0 GiB", (1, 518): "33.7 s, 5.7 GiB"}
"""The official PyTorch model, random weights and the same heads; measured once, on two idle AVX2 cores of another machine."""
CASES = ((1, 280), (2, 280), (1, 518), (2, 518))
"""Images and their side in pixels."""
RUNS = 2


@dataclass(frozen=True)
class MeasuredForward:
    """One case: seconds, GFLOP/s of the forward pass and of a matrix product just after it, bytes of memory."""

    compile_s: float
    run_s: float
    gflops: float
    product_gflops: float
    peak_memory: int


def report() -> Iterator[str]:
    """The tables, line by line as they fill."""
    yield machine.describe()
    yield from machine.in_own_process(transformer_block.report)
    yield "\nVGGT-1B (random weights; aggregator, camera and depth head), float32"
    columns = ("images", "compile", "run", "GFLOP/s", "of matmul", "peak memory", "official PyTorch, elsewhere")
    yield "  {:<9} {:>8} {:>8} {:>8} {:>10} {:>12}   {}".format(*columns)
    for frames, side in CASES:
        found = machine.in_own_process(_measure, frames, side)
        yield (
            f"  {f'{frames} × {side}²':<9} {found.compile_s:>6.1f} s {found.run_s:>6.1f} s {found.gflops:>8.0f} "
            f"{found.gflops / found.product_gflops:>10.0%} {found.peak_memory / 2**30:>8.1f} GiB   "
            f"{OFFICIAL.get((frames, side), '')}".rstrip()
        )
    yield "\ntrainable parameters of VGGT-1B"
    config = VGGTConfig.vggt_1b()
    yield f"  LoRA, r = 16      {LoRA(rank=16).count(config).total:>11,}"
    yield f"  full fine-tuning  {Full().count(config).total:>11,}"


def _measure(frames: int, side: int) -> MeasuredForward:
    graphdef, shapes = nnx.split(abstract_model(replace(VGGTConfig.vggt_1b(), heads=("camera", "depth"))))

    @jax.jit
    def forward(params: nnx.State, images: jax.Array) -> Predictions:
        return nnx.merge(graphdef, params)(images)

    params = random_parameters(shapes)
    images = jnp.full((1, frames, side, side, 3), 0.5)
    operations = flops.count(forward, shapes, images)
    start = time.perf_counter()
    compiled = forward.lower(params, images).compile()
    compile_s = time.perf_counter() - start
    run_s = min(machine.once(partial(compiled, params, images)) for _ in range(RUNS))
    peak_memory = machine.peak_memory()
    return MeasuredForward(compile_s, run_s, operations / run_s / 1e9, machine.matmul_gflops(4096), peak_memory)


def random_parameters(shapes: nnx.State) -> nnx.State:
    """Weights uniform in ±1/√inputs, all others 1; leaf by leaf, so that nothing is in memory twice."""
    rng = np.random.default_rng(0)

    def draw(keys: tuple, leaf: nnx.Param) -> jax.Array:
        if keys[-1] != "kernel":
            return jnp.asarray(np.ones(leaf.shape, np.float32))
        values = rng.random(leaf.shape, np.float32)
        values -= 0.5
        values *= 2 / np.sqrt(leaf.shape[-2] if leaf.ndim < 4 else prod(leaf.shape[:3]))
        return jnp.asarray(values, leaf.dtype)

    return nnx.from_flat_state([(keys, leaf.replace(draw(keys, leaf))) for keys, leaf in nnx.to_flat_state(shapes)])
