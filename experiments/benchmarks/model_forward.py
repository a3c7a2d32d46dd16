"""``python -m experiments.benchmark model``: VGGT-1B's forward pass, and one of its blocks beside PyTorch's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.benchmarks import flops, machine
from vggt_jax import VGGT, VGGTConfig
from vggt_jax.blocks import Block

CASES = ((1, 280), (2, 280), (1, 518), (2, 518))
"""Images and their side in pixels."""
WIDTH, HEADS, TOKENS = 1024, 16, 1374
"""A block of VGGT-1B on the tokens of one 518×518 image."""


def report(repeats: int = 3) -> None:
    """Print both tables: the forward pass, then the block."""
    print(machine.describe())
    peak = machine.matmul_gflops(4096)
    print(f"float32 matrix product: {peak:.0f} GFLOP/s\n")
    _blocks(peak, repeats)
    _forward(peak, repeats)


def _forward(peak: float, repeats: int) -> None:
    config = replace(VGGTConfig.vggt_1b(), heads=("camera", "depth"))
    graphdef, base = nnx.split(nnx.jit(lambda: VGGT(config, rngs=nnx.Rngs(0)))())

    @jax.jit
    def forward(base: nnx.State, images: jax.Array) -> tuple[jax.Array | None, jax.Array | None]:
        found = nnx.merge(graphdef, base)(images)
        return found.pose_enc, found.depth

    print("\nVGGT-1B (random weights; aggregator, camera and depth head), float32")
    print(f"  {'images':<12} {'compile':>9} {'run':>9} {'GFLOP/s':>9} {'of peak':>9} {'peak memory so far':>20}")
    for frames, side in CASES:
        images = jnp.full((1, frames, side, side, 3), 0.5)
        operations = flops.count(forward, base, images)
        start = time.perf_counter()
        compiled = forward.lower(base, images).compile()
        compile_s = time.perf_counter() - start
        _, run_s = machine.seconds(partial(compiled, base, images), repeats=repeats - 1)
        speed = operations / run_s / 1e9
        print(
            f"  {frames} × {side}²{'':<4} {compile_s:>7.1f} s {run_s:>7.1f} s {speed:>9.0f} {speed / peak:>9.0%} "
            f"{machine.peak_memory_gb():>17.1f} GB",
            flush=True,
        )


def _blocks(peak: float, repeats: int) -> None:
    block = Block(WIDTH, HEADS, mlp_ratio=4.0, layer_scale=1.0, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(block)
    x = jax.random.normal(jax.random.key(0), (1, TOKENS, WIDTH))
    run = jax.jit(lambda params, x: nnx.merge(graphdef, params)(x))
    operations = flops.count(run, params, x)
    other = _torch_block()
    ours, theirs = [], []
    jax.block_until_ready(run(params, x))
    for _ in range(4 * repeats):  # in turn, so that a change of the machine's speed meets both
        ours.append(machine.once(lambda: run(params, x)))
        if other is not None:
            theirs.append(machine.once(other))
    print(f"one transformer block ({WIDTH} wide, {HEADS} heads) on {TOKENS} tokens, float32")
    _row("this project", min(ours), operations, peak)
    if other is None:
        print("  PyTorch: not installed (pip install -e '.[torch]')")
    else:
        _row("PyTorch", min(theirs), operations, peak)
        print(f"  this project takes {min(ours) / min(theirs):.2f} of PyTorch's time")


def _row(what: str, seconds: float, operations: float, peak: float) -> None:
    speed = operations / seconds / 1e9
    print(f"  {what:<14} {seconds * 1e3:>7.0f} ms {speed:>7.0f} GFLOP/s, {speed / peak:.0%} of the matrix product")


def _torch_block() -> Callable[[], object] | None:
    """A plain PyTorch block of the same sizes and sums, on the same input size; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    functional = torch.nn.functional
    norm1, norm2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
    qkv, proj = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
    fc1, fc2 = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
    scale1, scale2 = torch.ones(WIDTH), torch.ones(WIDTH)
    x = torch.randn(1, TOKENS, WIDTH)

    def run() -> object:
        with torch.inference_mode():
            q, k, v = qkv(norm1(x)).reshape(1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, TOKENS, WIDTH)
            y = x + scale1 * proj(attended)
            return y + scale2 * fc2(functional.gelu(fc1(norm2(y))))

    run()
    return run
