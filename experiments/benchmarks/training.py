"""``python -m experiments.benchmark training``: a LoRA step of nano and of VGGT-1B, k adapters at once and in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax

from experiments.benchmarks import flops, machine
from experiments.benchmarks.adapter_step import AdapterStep, batch_shapes, lora, random_batch
from experiments.benchmarks.model_forward import random_parameters
from experiments.training.sharding import Placement, make_mesh
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Maker

K, SEQUENCES, VIEWS = 5, 2, 4
"""Of a step of nano's adapters: those of ``experiments.extract``."""
OFFICIAL = "20.1 s, 8.3 GiB"
"""PyTorch's step of the official model, the encoder without gradients; two idle AVX2 cores of another machine."""
RUNS = 5


@dataclass(frozen=True)
class Measured:
    """One step: seconds to compile and to run, operations, GFLOP/s of a matrix product just after it, bytes of memory."""

    compile_s: float
    run_s: float
    operations: float
    product_gflops: float
    peak_memory: int


def report() -> None:
    """Print the tables as they fill."""
    print(machine.describe(), flush=True)
    nano = VGGTConfig.nano()
    side = nano.image_size
    print(f"\nLoRA of nano (r = 8), {SEQUENCES} × {VIEWS} images of {side}² for each adapter, float32")
    _head()
    cases = {
        f"{K} adapters at once, tokens cached": (K, True, False),
        f"{K} adapters at once": (K, False, False),
        f"{K} as one program, tokens cached": (K, True, True),
        "1 adapter, tokens cached": (1, True, False),
        "1 adapter": (1, False, False),
    }
    found = {}
    for name, (adapters, cached, as_one) in cases.items():
        tokens = ((side // nano.patch_size) ** 2, nano.width) if cached else None
        config = replace(nano, heads=("camera", "depth"))
        found[name] = machine.in_own_process(
            measure, config, partial(lora, rank=8), (adapters, SEQUENCES, VIEWS, side, tokens), RUNS, as_one
        )
        _row(name, found[name], adapters * SEQUENCES * VIEWS)
    together, as_one, alone = (found[name].run_s for name in list(cases) if "cached" in name)
    print(
        f"  {K} in turn take {K * alone * 1e3:.0f} ms: at once is {K * alone / together:.2f} times as fast, "
        f"as one program (vmap) {K * alone / as_one:.2f} times"
    )

    print("\nLoRA of VGGT-1B (r = 16, random weights), 1 × 2 images of 224², float32, blocks recomputed")
    _head()
    config = replace(VGGTConfig.vggt_1b(), heads=("camera", "depth"), remat=True)
    _row("1 adapter", machine.in_own_process(measure, config, partial(lora, rank=16), (1, 1, 2, 224, None), 1), 2)
    print(f"  the official PyTorch model, elsewhere, nothing recomputed: {OFFICIAL}", flush=True)


def _head() -> None:
    columns = ("", "compile", "step", "images/s", "GFLOP/s", "of matmul", "peak memory")
    print("  {:<34} {:>8} {:>9} {:>9} {:>8} {:>10} {:>12}".format(*columns), flush=True)


def _row(name: str, found: Measured, images: int) -> None:
    speed = found.operations / found.run_s / 1e9
    print(
        f"  {name:<34} {found.compile_s:>6.1f} s {found.run_s * 1e3:>6.0f} ms {images / found.run_s:>9.1f} {speed:>8.0f} "
        f"{speed / found.product_gflops:>10.0%} {found.peak_memory / 2**30:>8.1f} GiB",
        flush=True,
    )


def measure(
    config: VGGTConfig,
    make_maker: Callable[[VGGTConfig], Maker],
    shape: tuple[Any, ...],
    runs: int,
    as_one: bool = False,
) -> Measured:
    """A step of ``shape[0]`` adapters on a model with random weights, in this process.

    Args:
        config: of the model.
        make_maker: of the adapters.
        shape: what :func:`experiments.benchmarks.adapter_step.batch_shapes` takes.
        runs: steps to take after the first, which compiles; the quickest counts.
        as_one: several adapters as one program even on a CPU.
    """
    adapter = AdapterStep.of(config, make_maker(config), adapters=shape[0])
    batch = random_batch(batch_shapes(*shape))
    frozen = adapter.frozen(random_parameters(adapter.parameters))
    operations = flops.count(adapter.step, adapter.state, adapter.frozen(adapter.parameters), batch)
    placement = Placement(make_mesh())
    state = placement.state(adapter.new_state(shape[0]))
    frozen, batch = placement.frozen(frozen), placement.batch(batch)
    compiled = placement.compile(adapter.step, state) if not as_one else jax.jit(adapter.step, donate_argnums=0)
    step = _repeated(compiled, state, frozen, batch)
    first_s = machine.once(step)
    run_s = min(machine.once(step) for _ in range(runs))
    return Measured(first_s - run_s, run_s, operations, machine.matmul_gflops(4096), machine.peak_memory())


def _repeated(step: Callable[..., Any], state: Any, frozen: Any, batch: Any) -> Callable[[], Any]:
    """The step from where the last call of it ended: its state's memory is reused."""
    states = [state]

    def once() -> Any:
        states[0], metrics = step(states[0], frozen, batch)
        return metrics

    return once
