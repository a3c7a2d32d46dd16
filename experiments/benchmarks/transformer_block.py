"""One transformer block of VGGT-1B beside a PyTorch block of the same sizes, in turn and in one process."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

from experiments.benchmarks import flops, machine
from vggt_jax.blocks import Block

WIDTH, HEADS, TOKENS = 1024, 16, 1374
"""A block of VGGT-1B on the tokens of one 518×518 image."""
RUNS = 16


def report() -> list[str]:
    """The lines of the table."""
    peak = machine.matmul_gflops(4096)
    graphdef, params = nnx.split(Block(WIDTH, HEADS, mlp_ratio=4.0, layer_scale=1.0, rngs=nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (1, TOKENS, WIDTH))
    run = jax.jit(lambda params, x: nnx.merge(graphdef, params)(x))
    operations = flops.count(run, params, x)
    other = _torch_block()
    ours, theirs = [], []
    jax.block_until_ready(run(params, x))
    for _ in range(RUNS):  # in turn, so that a change of the machine's speed meets both
        ours.append(machine.once(lambda: run(params, x)))
        if other is not None:
            theirs.append(machine.once(other))
    lines = [
        f"float32 matrix product: {peak:.0f} GFLOP/s",
        f"\none transformer block ({WIDTH} wide, {HEADS} heads) on {TOKENS} tokens, float32",
        _row("this project", min(ours), operations, peak),
    ]
    if other is None:
        return [*lines, "  PyTorch: not installed (pip install -e '.[torch]')"]
    comparison = f"  this project takes {min(ours) / min(theirs):.2f} of PyTorch's time"
    return [*lines, _row("PyTorch", min(theirs), operations, peak), comparison]


def _row(what: str, seconds: float, operations: float, peak: float) -> str:
    speed = operations / seconds / 1e9
    return f"  {what:<14} {seconds * 1e3:>7.0f} ms {speed:>7.0f} GFLOP/s, {speed / peak:.0%} of the matrix product"


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
