"""What XLA's CPU backend plans for one training step of VGGT-1B, on abstract shapes, to compare what is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from experiments.accelerators.adapter_step import AdapterStep, batch_shapes, lora
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Maker

RANK, SIDE, FRAMES_CHUNK = 16, 518, 4
LORA = partial(lora, rank=RANK)


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
