"""``python -m experiments.benchmark training``: a LoRA step of nano and of VGGT-1B, k adapters at once and in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.accelerators.adapter_step import AdapterStep, batch_shapes, lora, random_batch
from experiments.benchmarks import flops, machine, step_profile
from experiments.benchmarks.model_forward import random_parameters
from experiments.process.cores import available_cores
from experiments.training.sharding import Placement, make_mesh
from experiments.training.side_by_side import SideBySide, settled
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Maker

K, SEQUENCES, VIEWS = 5, 2, 4
"""Of a step of nano's adapters: those of ``experiments.extract``."""
OFFICIAL = "20.1 s, 8.3 GiB"
"""PyTorch's step of the official model, the encoder without gradients; two idle AVX2 cores of another machine."""
RUNS = 5
STEPS = 4
"""Steps of nano that one timing takes in a row, as training does: adapters do not wait for each other between them."""


@dataclass(frozen=True)
class MeasuredStep:
    """One step: seconds to compile and to run, operations, GFLOP/s of a matrix product just after it, bytes of memory."""

    compile_s: float
    run_s: float
    operations: float
    product_gflops: float
    peak_memory: int


def report() -> Iterator[str]:
    """The tables, line by line as they fill."""
    yield machine.describe()
    nano = VGGTConfig.nano()
    side = nano.image_size
    yield f"\nLoRA of nano (r = 8), {SEQUENCES} × {VIEWS} images of {side}² for each adapter, float32"
    yield _head()
    tokens = ((side // nano.patch_size) ** 2, nano.width)
    together, in_turn = (Case((adapters, SEQUENCES, VIEWS, side, tokens), steps=STEPS) for adapters in (K, 1))
    as_one = together._replace(as_one=True)
    cases = {
        f"{K} adapters at once, tokens cached": together,
        f"{K} adapters at once": Case((K, SEQUENCES, VIEWS, side, None), steps=STEPS),
        f"{K} as one program, tokens cached": as_one,
        "1 adapter, tokens cached": in_turn,
        "1 adapter": Case((1, SEQUENCES, VIEWS, side, None), steps=STEPS),
    }
    config, make = replace(nano, heads=("camera", "depth")), partial(lora, rank=8)
    for name, case in cases.items():
        yield _row(name, machine.in_own_process(measure, config, make, case, RUNS), case.shape[0] * SEQUENCES * VIEWS)
    found = machine.in_own_process(alternate, config, make, {together: 1, as_one: 1, in_turn: K}, RUNS)
    at_once_s, as_one_s, in_turn_s = found
    yield (
        f"  the three by turns, tokens cached: {K} at once {at_once_s:.2f} s, as one program (vmap) {as_one_s:.2f} s, "
        f"one after the other {in_turn_s:.2f} s,\n"
        f"  so at once is {in_turn_s / at_once_s:.2f} times as fast as one after the other, "
        f"{as_one_s / at_once_s:.2f} times as fast as one program"
    )
    yield "\nWhere a step of 1 adapter goes, tokens cached, on one core; matmul is what a core reaches in a large product"
    yield from machine.in_own_process(parts, config, make, in_turn)

    yield "\nLoRA of VGGT-1B (r = 16, random weights), 1 × 2 images of 224², float32, blocks recomputed"
    yield _head()
    config = replace(VGGTConfig.vggt_1b(), heads=("camera", "depth"), remat=True)
    full_size = Case((1, 1, 2, 224, None))
    yield _row("1 adapter", machine.in_own_process(measure, config, partial(lora, rank=16), full_size, 1), 2)
    yield f"  the official PyTorch model, elsewhere, nothing recomputed: {OFFICIAL}"


def _head() -> str:
    columns = ("", "compile", "step", "images/s", "GFLOP/s", "of matmul", "peak memory")
    return "  {:<34} {:>8} {:>9} {:>9} {:>8} {:>10} {:>12}".format(*columns)


def _row(name: str, found: MeasuredStep, images: int) -> str:
    speed = found.operations / found.run_s / 1e9
    return (
        f"  {name:<34} {found.compile_s:>6.1f} s {found.run_s * 1e3:>6.0f} ms {images / found.run_s:>9.1f} {speed:>8.0f} "
        f"{speed / found.product_gflops:>10.0%} {found.peak_memory / 2**30:>8.1f} GiB"
    )


class Case(NamedTuple):
    """A step of k adapters."""

    shape: tuple[Any, ...]
    """What :func:`experiments.accelerators.adapter_step.batch_shapes` takes; first k."""
    as_one: bool = False
    """As one program even on a CPU."""
    steps: int = 1
    """Steps that are taken in a row, and waited for together."""


def measure(config: VGGTConfig, make_maker: Callable[[VGGTConfig], Maker], case: Case, runs: int) -> MeasuredStep:
    """A step on a model with random weights, in this process.

    Args:
        config: of the model.
        make_maker: of the adapters.
        case: what is measured.
        runs: steps to take after the first, which compiles; the quickest counts.
    """
    adapter = AdapterStep.of(config, make_maker(config), adapters=case.shape[0])
    abstract = adapter.frozen(adapter.parameters)
    operations = flops.count(adapter.step, adapter.state, abstract, batch_shapes(*case.shape))
    step = _prepare(adapter, case)
    first_s = machine.once(step)
    run_s = min(machine.once(step) for _ in range(runs)) / case.steps
    return MeasuredStep(
        first_s - run_s * case.steps, run_s, operations, machine.matmul_gflops(4096), machine.peak_memory()
    )


def alternate(
    config: VGGTConfig, make_maker: Callable[[VGGTConfig], Maker], cases: Mapping[Case, int], rounds: int
) -> list[float]:
    """:func:`median_turns` of ``cases[case]`` steps of each case, on a model with random weights, in this process."""
    steps = [
        (_prepare(AdapterStep.of(config, make_maker(config), adapters=case.shape[0]), case), times)
        for case, times in cases.items()
    ]
    turns = median_turns(steps, rounds)
    return [seconds / case.steps for seconds, case in zip(turns, cases, strict=True)]


def parts(config: VGGTConfig, make_maker: Callable[[VGGTConfig], Maker], case: Case) -> list[str]:
    """The table of :mod:`experiments.benchmarks.step_profile` of one adapter's step, in this process, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, available_cores()[:1])
    adapter = AdapterStep.of(config, make_maker(config), adapters=case.shape[0])
    shapes = batch_shapes(*case.shape)
    arguments = (
        adapter.new_state(case.shape[0]),
        adapter.frozen(random_parameters(adapter.parameters)),
        random_batch(shapes),
    )
    compiled = jax.jit(adapter.step).lower(*arguments).compile()

    def once() -> None:
        jax.block_until_ready(compiled(*arguments))

    once()
    found = step_profile.profile(
        compiled, once, adapter.step, adapter.state, adapter.frozen(adapter.parameters), shapes
    )
    return list(found.report(machine.matmul_gflops(2048)))


def median_turns(
    functions: Sequence[tuple[Callable[[], object], int]],
    rounds: int,
    once: Callable[[Callable[[], object]], float] = machine.once,
) -> list[float]:
    """Median seconds of so many calls of each function; they take turns, as a shared machine's speed changes meanwhile.

    Args:
        functions: with the number of calls in each round; each is called once before, which compiles.
        rounds: number of turns.
        once: seconds of one call.
    """
    for function, _ in functions:
        once(function)
    seconds = [[sum(once(function) for _ in range(times)) for function, times in functions] for _ in range(rounds)]
    return np.median(seconds, axis=0).tolist()


def _prepare(adapter: AdapterStep, case: Case) -> Callable[[], Any]:
    """A step that goes on from where its last call ended, so that its state's memory is reused."""
    batch = random_batch(batch_shapes(*case.shape))
    frozen = adapter.frozen(random_parameters(adapter.parameters))
    placement = Placement(make_mesh(devices=jax.devices()[:1]))
    state = placement.state(adapter.new_state(case.shape[0]))
    frozen, batch = placement.frozen(frozen), placement.batch(batch)
    compiled: Any = (
        placement.compile(adapter.step, state) if not case.as_one else jax.jit(adapter.step, donate_argnums=0)
    )
    advance = compiled.ahead if isinstance(compiled, SideBySide) else compiled

    def once() -> Any:
        nonlocal state
        metrics = None
        for _ in range(case.steps):
            state, metrics = advance(state, frozen, batch)
        return settled(metrics)

    return once
