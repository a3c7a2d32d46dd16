"""``python -m experiments.benchmark finetuning``: training M inside fixed bases, beside LoRA at the same D."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import jax

from experiments.accelerators.adapter_step import lora, subspace_form
from experiments.benchmarks import machine
from experiments.benchmarks.step_memory import SIDE, full_size_config, planned
from experiments.benchmarks.training import SEQUENCES, VIEWS, Case, measure
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Maker, trained_numbers

DIMENSIONS = (16, 64)
"""D of nano: two and eight times its r."""
FULL_SIZE_DIMENSIONS = (64, 256)
"""The paper's 4 · 16 and 4 · 64."""
FRAMES = 8
"""In one sequence of VGGT-1B's step."""
RUNS = 5


def report(full_size: bool) -> Iterator[str]:
    """The tables, line by line as they fill; that of VGGT-1B only with ``full_size``."""
    yield machine.describe()
    config = replace(VGGTConfig.nano(), heads=("camera", "depth"))
    side = config.image_size
    case = Case((1, SEQUENCES, VIEWS, side, ((side // config.patch_size) ** 2, config.width)))
    yield f"\none adapter of nano on all matrices, {SEQUENCES} × {VIEWS} images of {side}², tokens cached, float32"
    yield _head()
    for dim in DIMENSIONS:
        yield from _rows(config, dim, case)
    if full_size and jax.default_backend() == "cpu":
        yield from _report_planned()
    elif full_size:
        yield from _report_full_size()


def _head() -> str:
    return f"  {'':<14} {'trained':>11} {'compile':>9} {'step':>9} {'peak memory':>12}"


def _rows(config: VGGTConfig, dim: int, case: Case) -> Iterator[str]:
    steps = []
    for name, make in _methods(dim).items():
        found = machine.in_own_process(measure, config, make, case, RUNS)
        steps.append(found.run_s)
        yield (
            f"  {name:<14} {_trained(config, make):>11,} {found.compile_s:>7.1f} s {found.run_s * 1e3:>6.0f} ms "
            f"{found.peak_memory / 2**30:>8.2f} GiB"
        )
    lora_s, m_s = steps
    yield f"  M takes {m_s / lora_s:.2f} times as long as LoRA"


def _report_planned() -> Iterator[str]:
    config = VGGTConfig.vggt_1b()
    yield f"\none adapter of VGGT-1B on all matrices, 1 × {FRAMES} images of {SIDE}², bfloat16, blocks recomputed: planned"
    yield f"  {'':<14} {'trained':>11} {'arguments':>12} {'temporary':>12} {'compile':>9}"
    for dim in FULL_SIZE_DIMENSIONS:
        for name, make in _methods(dim, abstract=True).items():
            start = time.perf_counter()
            arguments, temporary = planned(1, FRAMES, True, make)
            yield (
                f"  {name:<14} {_trained(config, make):>11,} {arguments / 2**30:>8.2f} GiB {temporary / 2**30:>8.2f} GiB "
                f"{time.perf_counter() - start:>7.0f} s"
            )


def _report_full_size() -> Iterator[str]:
    config = full_size_config(remat=True)
    yield f"\none adapter of VGGT-1B on all matrices, 1 × {FRAMES} images of {SIDE}², bfloat16, blocks recomputed"
    yield _head()
    for dim in FULL_SIZE_DIMENSIONS:
        yield from _rows(config, dim, Case((1, 1, FRAMES, SIDE, None)))


def _methods(dim: int, *, abstract: bool = False) -> dict[str, Callable[[VGGTConfig], Maker]]:
    return {
        f"LoRA, r = {dim}": partial(lora, rank=dim),
        f"M, D = {dim}": partial(subspace_form, dim=dim, abstract=abstract),
    }


def _trained(config: VGGTConfig, make: Callable[[VGGTConfig], Maker]) -> int:
    return sum(trained_numbers(make(config)).values())
