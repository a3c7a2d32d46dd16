"""``python -m experiments.benchmark memory``: what XLA plans for one LoRA training step of VGGT-1B, on abstract shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from experiments.accelerators.adapter_step import AdapterStep, batch_shapes, lora
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Maker

RANK, SIDE, FRAMES_CHUNK = 16, 518, 4
LORA = partial(lora, rank=RANK)
CASES = ((4, 8, True, 80), (4, 8, False, 80), (1, 8, True, 24))
"""Sequences, images of each, rematerialisation, and the GPU's GB that it should fit."""


def report() -> Iterator[str]:
    """The table, line by line as it fills."""
    yield f"one LoRA step of VGGT-1B (r = {RANK}; aggregator, camera and depth head) on {SIDE}² images, bfloat16"
    yield "planned by XLA's CPU backend, which has no flash attention and no arithmetic in bfloat16"
    yield f"  {'images':<8} {'remat':<6} {'arguments':>12} {'temporary':>12} {'compile':>10}"
    for sequences, frames, remat, limit in CASES:
        start = time.perf_counter()
        arguments, temporary = planned(sequences, frames, remat)
        fits = "fits" if arguments + temporary <= limit * 1e9 else "does not fit"
        yield (
            f"  {f'{sequences} × {frames}':<8} {'yes' if remat else 'no':<6} {arguments / 2**30:>8.1f} GiB "
            f"{temporary / 2**30:>8.1f} GiB {time.perf_counter() - start:>8.0f} s   {fits} {limit} GB"
        )


def full_size_config(remat: bool) -> VGGTConfig:
    """VGGT-1B as it is fine-tuned."""
    return replace(
        VGGTConfig.vggt_1b(), heads=("camera", "depth"), dtype="bfloat16", remat=remat, frames_chunk=FRAMES_CHUNK
    )


def planned(
    sequences: int, frames: int, remat: bool, make_maker: Callable[[VGGTConfig], Maker] = LORA
) -> tuple[int, int]:
    """Bytes of a step's arguments and of all else that it holds at once."""
    config = full_size_config(remat)
    adapter = AdapterStep.of(config, make_maker(config))
    base = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), adapter.parameters)
    step = jax.jit(adapter.step, donate_argnums=0)
    lowered = step.lower(adapter.state, adapter.frozen(base), batch_shapes(1, sequences, frames, SIDE, None))
    analysis = lowered.compile().memory_analysis()
    if analysis is None:
        raise RuntimeError("this backend of XLA does not say how much memory it plans")
    kept = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes + kept
