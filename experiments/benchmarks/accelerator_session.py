"""``python -m experiments.benchmark accelerator``: what a few minutes on a chip can tell, the most important first.

Each part prints its lines and keeps its record as soon as it is there, so that a session that is cut loses one part at most.
Without an accelerator the same parts run at nano's size, to see that they do.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.accelerators.adapter_step import AdapterStep, batch_shapes, lora, random_batch
from experiments.accelerators.chips import chip_of
from experiments.accelerators.compiling import StepProgram
from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import Kernel, kernels
from experiments.accelerators.layouts import LAYOUTS, USUAL, program_of, table
from experiments.accelerators.places import PASSES
from experiments.accelerators.roofline import roofline
from experiments.benchmarks import input_speed, machine, step_profile
from experiments.benchmarks.model_forward import random_parameters
from experiments.storage.files import read_json, write_json
from experiments.training.loop import LoopSettings, train
from experiments.training.sampling import BatchSampler
from experiments.training.sharding import Placement, make_mesh
from vggt_jax import VGGTConfig

REFERENCE = Path(__file__).with_name("reference.json")
"""Loss and gradient of a small model in float32 on a CPU; :func:`write_reference` makes it."""
_BINS = 1024
"""Of the sums that stand for a gradient of any size: errors are known to a twentieth of themselves."""
_LONGEST_TRAINING = 60.0
"""Seconds of real training."""


@dataclass(frozen=True)
class Session:
    """A few minutes on a chip."""

    seconds: float
    """After which the process ends."""
    file: Path
    """Gets a line of JSON for each thing that was found."""
    begun: float

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.begun)

    def keep(self, **found: Any) -> None:
        """Add a record to the file."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(self.seconds - self.left, 1), **found}) + "\n")


def report(seconds: float, file: Path) -> Iterator[str]:
    """All parts that ``seconds`` allow, line by line; at the latest then the process ends.

    Raises OSError if ``file`` cannot be written.
    """
    session = Session(seconds, file, time.monotonic())
    device = jax.devices()[0]
    small = device.platform == "cpu"
    session.keep(device=device.device_kind, jax=jax.__version__, flags=os.environ.get("XLA_FLAGS", ""))
    yield machine.describe()
    if small:
        yield "no accelerator: the same parts at nano's size, whose figures say nothing of one"
    cut = threading.Timer(seconds, _cut)
    cut.daemon = True
    cut.start()
    parts: Sequence[Callable[[Session, bool], Iterator[str]]] = (
        _ceilings, _parity, _steps, _without_autotuning, _input, _training,
    )  # fmt: skip
    for part in parts:
        if session.left < 10:
            yield f"no time left for {part.__name__.strip('_').replace('_', ' ')} and what comes after"
            break
        try:
            yield from part(session, small)
        except Exception as error:  # a part that fails must not cost the others
            line = f"{type(error).__name__}: {error}".partition("\n")[0]
            session.keep(part=part.__name__, error=line)
            yield f"  failed: {line}"
    cut.cancel()
    yield f"kept in {file}"


def _cut() -> None:
    print("time is up: what was found so far is kept", flush=True)
    os._exit(0)


def _ceilings(session: Session, small: bool) -> Iterator[str]:
    yield "\nceilings"
    size = 1024 if small else 8192
    x = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda x: x @ x)
    rate = 2 * size**3 / machine.seconds(lambda: product(x), repeats=5)[1]
    y = jnp.ones((2**22 if small else 2**30,), jnp.float32)
    added = jax.jit(lambda y: y + 1)
    moved = 2 * y.nbytes / machine.seconds(lambda: added(y), repeats=5)[1]
    session.keep(product=rate, copy=moved)
    yield f"  bfloat16 product {rate / 1e12:.3g} TFLOP/s, memory {moved / 1e9:.0f} GB/s"


def _parity(session: Session, small: bool) -> Iterator[str]:
    yield "\nloss and gradient of a small model, against float32 on a CPU"
    reference = read_json(REFERENCE)
    for dtype in ("float32", "bfloat16"):
        value, sums = small_gradient(dtype)
        known = np.array(reference["sums"])
        loss = abs(value / reference["loss"] - 1)
        gradient = float(np.linalg.norm(sums - known) / np.linalg.norm(known))
        session.keep(parity=dtype, loss_error=loss, gradient_error=gradient)
        yield f"  {dtype}: loss off by {loss:.1e}, gradient by {gradient:.1e} of its length"


def write_reference() -> None:
    """Make :data:`REFERENCE`, on a CPU."""
    value, sums = small_gradient("float32")
    write_json(REFERENCE, {"loss": value, "sums": [float(f"{x:.8g}") for x in sums]})


def small_gradient(dtype: Any) -> tuple[float, np.ndarray]:
    """Loss, and sums of the gradient's numbers with random signs, of nano with an odd number of tokens."""
    config = replace(VGGTConfig.nano(), heads=("camera", "depth"), dtype=dtype, remat=True)
    adapter = AdapterStep.of(config, lora(config, 8))
    shapes = batch_shapes(1, 2, 3, 96, None)
    base, params, batch = (
        _drawn(tree, seed) for seed, tree in enumerate((adapter.parameters, adapter.state.params, shapes))
    )
    one = jax.tree.map(lambda x: x[0], (params, batch))
    loss = jax.jit(jax.value_and_grad(lambda params, frozen, batch: adapter.loss(params, frozen, batch)[0]))
    value, gradient = loss(one[0], adapter.frozen(base), one[1])
    numbers = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gradient)])
    rng = np.random.default_rng(9)
    signs, bins = rng.choice([-1.0, 1.0], numbers.size), rng.integers(_BINS, size=numbers.size)
    return float(value), np.bincount(bins, signs * numbers, _BINS)


def _drawn(shapes: Any, seed: int) -> Any:
    """Numbers that are the same on every machine: of a batch such as give a finite loss."""
    if hasattr(shapes, "intrinsics"):
        return jax.tree.map(np.asarray, jax.device_get(random_batch(shapes)))
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> jax.Array:
        scale = 2 / np.sqrt(max(leaf.shape[-2], 1)) if len(leaf.shape) > 1 else 0.2
        return jnp.asarray(scale * (rng.random(leaf.shape, np.float32) - 0.5))

    return jax.tree.map(draw, shapes)


@dataclass(frozen=True, eq=False)
class _Running:
    """A step that can be taken again and again."""

    once: Callable[[], Any]
    compiled: jax.stages.Compiled
    kernels: Sequence[Kernel]
    compile_s: float
    planned: int


def _program(small: bool, sequences: int, views: int) -> StepProgram:
    program = program_of("nano" if small else "vggt_1b", LAYOUTS[USUAL], views)
    return replace(program, sequences=sequences, side=96 if small else 518)


def _running(program: StepProgram, options: dict[str, Any] | None = None) -> _Running:
    adapter = AdapterStep.of(program.config, lora(program.config, program.rank))
    batch = random_batch(batch_shapes(1, program.sequences, program.views, program.side, None))
    frozen, state = adapter.frozen(random_parameters(adapter.parameters)), adapter.new_state()
    begun = time.perf_counter()
    compiled = jax.jit(adapter.step, donate_argnums=0).lower(state, frozen, batch).compile(compiler_options=options)
    seconds = time.perf_counter() - begun
    memory = compiled.memory_analysis()

    def once() -> Any:
        nonlocal state
        state, metrics = compiled(state, frozen, batch)
        return metrics

    found = tuple(kernels(Hlo.parse(compiled.as_text() or ""), tpu=jax.default_backend() == "tpu"))
    planned = 0 if memory is None else memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return _Running(once, compiled, found, seconds, planned)


def _steps(session: Session, small: bool) -> Iterator[str]:
    yield "\nLoRA steps: duration, plan, and where the time goes"
    for sequences, views in ((1, 1), (1, 2)) if small else ((1, 8), (4, 8), (1, 1)):
        if session.left < 60:
            return
        running = _running(_program(small, sequences, views))
        yield from _measured(session, running, f"{sequences} × {views}", sequences * views, session.left > 40)


def _measured(session: Session, running: _Running, name: str, images: int, profiled: bool) -> Iterator[str]:
    machine.once(running.once)
    times = [machine.once(running.once) for _ in range(3)]
    step = float(np.median(times))
    peak = machine.peak_memory()
    session.keep(step=name, seconds=step, compile_s=running.compile_s, planned=running.planned, peak=peak)
    yield (
        f"  {name}: {step * 1e3:.1f} ms, {images / step:.1f} pictures/s; compiled in {running.compile_s:.0f} s; "
        f"planned {running.planned / 1e9:.2f} GB, most so far {peak / 1e9:.2f} GB"
    )
    chip = chip_of(jax.devices()[0].device_kind)
    if chip is not None:
        counted = roofline(running.kernels, chip)
        yield f"    by roofline {counted.seconds * 1e3:.1f} ms; {counted.total / step / 1e12:.0f} TFLOP/s"
    if profiled:
        found = parts(running)
        session.keep(profile=name, parts={" ".join(place): seconds for place, seconds in found.items()})
        for place, seconds in sorted(found.items(), key=lambda item: -item[1])[:12]:
            yield f"    {place[0]}, {place[1]}: {seconds * 1e3:.1f} ms"


def parts(running: _Running) -> dict[tuple[str, str], float]:
    """(part of the model and kind of kernel, pass) → seconds of a step, by JAX's profiler."""
    by_name = {each.name: each for each in running.kernels}
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for name, seconds in step_profile.watched(lambda: machine.once(running.once)):
        kernel = by_name.get(name)
        place = (
            ("other", PASSES[0]) if kernel is None else (f"{kernel.place.part} {kernel.kind}", kernel.place.direction)
        )
        found[place] += seconds
    return dict(found)


def _without_autotuning(session: Session, small: bool) -> Iterator[str]:
    if jax.default_backend() != "gpu" and not small:
        return
    yield "\nthe same without XLA's autotuning"
    options = None if small else {"xla_gpu_autotune_level": 0}
    sequences, views = (1, 2) if small else (1, 8)
    running = _running(_program(small, sequences, views), options)
    yield from _measured(session, running, f"{sequences} × {views}, no autotuning", views, session.left > 60)


def _input(session: Session, small: bool) -> Iterator[str]:
    side = 96 if small else 518
    yield f"\ninput: 32 pictures of {side}²"
    with tempfile.TemporaryDirectory() as folder:
        for stage in input_speed.stages(input_speed.drawn_scenes(Path(folder) / "drawn", side)):
            session.keep(input=stage.name, cpu_s=stage.cpu_s, seconds=stage.wall_s)
            yield str(stage)
            if session.left < 20:
                return


def _training(session: Session, small: bool) -> Iterator[str]:
    """The loop that ``extract`` trains adapters with: batches from the disk, steps, metrics."""
    yield "\ntraining as extract does it, pictures read from the disk"
    program = _program(small, *((1, 2) if small else (4, 8)))
    adapter = AdapterStep.of(program.config, lora(program.config, program.rank))
    images = program.sequences * program.views
    known = [row.seconds for row in table() if (row.sequences, row.views) == (program.sequences, program.views)]
    each = max([*known, 0.5])
    steps = max(3, int(min(_LONGEST_TRAINING, session.left / 3) / each))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = input_speed.drawn_scenes(folder / "drawn", program.side)
        sampler = BatchSampler({0: scenes}, images, (program.views,), seed=0)
        step = adapter.step
        begun = time.perf_counter()
        marks: list[float] = []

        def batch(number: int) -> Any:
            marks.append(time.perf_counter())
            return sampler(number)

        frozen = adapter.frozen(random_parameters(adapter.parameters))
        placement = Placement(make_mesh(devices=jax.devices()[:1]))
        train(step, adapter.new_state(), frozen, batch, placement, LoopSettings(steps), folder / "run", {})
        ended = time.perf_counter()
    speed = images * (steps - 1) / (ended - marks[1]) if len(marks) > 1 else 0.0
    session.keep(training=steps, seconds=ended - begun, pictures_per_second=speed)
    yield f"  {steps} steps in {ended - begun:.0f} s, compilation included; after the first {speed:.1f} pictures/s"
