"""The loop: batches in, steps, metrics, checkpoints; killed at any point and started again, it ends in the same bits."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import read_json, write_bytes
from experiments.storage.identity import NO_EFFECT
from experiments.training.batch import TrainingBatch
from experiments.training.checkpoints import Checkpoints
from experiments.training.continuation import CHECKPOINTS, Continuation
from experiments.training.input_pipeline import prefetched
from experiments.training.loss_function import Frozen
from experiments.training.metrics_log import MetricsLog
from experiments.training.sharding import Placement
from experiments.training.side_by_side import SideBySide, settled
from experiments.training.step import Metrics, Step, TrainingState, TrainingStep
from experiments.training.trackers import Tracker, TrackerName, check_installed, trackers
from subspace.errors import InputError
from vggt_jax.disk_space import named_if_full


class Diverged(InputError):
    """Training that cannot go on: losses or gradients are no longer finite."""


@dataclass(frozen=True)
class LoopSettings:
    """How long a run is, and how often it looks up.

    Steps, validations and the limit of skipped steps take part in :func:`experiments.storage.identity.identity`.
    """

    steps: int
    """Steps of the whole run."""
    checkpoint_every: int = field(default=100, metadata=NO_EFFECT)
    """Steps between two checkpoints."""
    validate_every: int = 100
    """Steps between two validations, whose results are part of the metrics."""
    keep: int = field(default=2, metadata=NO_EFFECT)
    """Number of checkpoints that stay on the disk, the newest ones."""
    skips_in_a_row: int = 10
    """Steps that an adapter may skip in a row, 0 for none; the run stops when one skips more."""
    threads: int = field(default=1, metadata=NO_EFFECT)
    """Threads that prepare batches while a step runs."""
    ahead: int = field(default=2, metadata=NO_EFFECT)
    """Batches that are prepared ahead."""
    log: tuple[TrackerName, ...] = field(default=(), metadata=NO_EFFECT)
    """Where metrics go besides ``metrics.jsonl``: TensorBoard's event files, Weights & Biases."""

    def __post_init__(self) -> None:
        for name in ("steps", "checkpoint_every", "validate_every", "keep", "threads", "ahead"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.skips_in_a_row < 0:
            raise InputError(f"skips_in_a_row must be at least 0, got {self.skips_in_a_row}")
        check_installed(self.log)


def train(
    step: TrainingStep,
    state: TrainingState,
    frozen: Frozen,
    make_batch: Callable[[int], TrainingBatch],
    placement: Placement,
    settings: LoopSettings,
    folder: Path,
    identity: Mapping[str, Any],
    *,
    compiled: Step | None = None,
    whole: Path | None = None,
    validate: Callable[[TrainingState], Mapping[str, Any]] | None = None,
    reporter: Reporter = SILENT,
) -> TrainingState:
    """Trains until ``settings.steps`` steps are taken, or goes on where an earlier call on ``folder`` stopped.

    Args:
        step: it is compiled here.
        state: the state before the first step.
        frozen: what the step shares; neither it nor ``state`` needs to be placed yet.
        make_batch: step, from 0 → batch of NumPy arrays (k, B, S, ...), a pure function (see
            :func:`experiments.training.input_pipeline.prefetched`).
        settings: how long the run is, and how often it looks up.
        folder: gets ``run.json``, ``metrics.jsonl``, ``checkpoints/`` and what ``settings.log`` asks for.
        identity: what determines the run (settings, seeds, hashes), as JSON can hold it.
        compiled: what ``placement.compile(step, state)`` returned, if that was done before.
        whole: the folder with everything that other machines need to go on, by default ``folder``; where it lies in a store
            that machines share, they find the newest state there.
        validate: state → what to log, called every ``validate_every`` steps and after the last; by every process of a
            job with several, of which the first writes.
        reporter: gets a bar of the steps with loss and speed, in the first process of a job.

    Returns:
        The state after the last step.

    Raises:
        Diverged: an adapter's loss is not finite for too many steps in a row.
        InputError: ``folder`` holds another run, or what ``settings.log`` asks for cannot be used.
        OSError: ``folder`` cannot be written. A full disk is named, and leaves a run that can go on.
    """
    writes = jax.process_index() == 0
    folder.mkdir(parents=True, exist_ok=True)
    continuation = Continuation(whole or folder)
    continuation.fetch()
    if writes:
        _check_identity(folder / "run.json", identity)
    state, frozen = placement.state(state), placement.frozen(frozen)
    compiled = compiled or placement.compile(step, state)
    advance: Any = compiled
    with named_if_full(folder), ExitStack() as stack:
        if isinstance(compiled, SideBySide):
            advance = compiled.ahead
            stack.callback(compiled.cancel)
        checkpoints = stack.enter_context(Checkpoints(folder / CHECKPOINTS, keep=settings.keep))
        state = checkpoints.restore(state) or state
        first = int(state.step)
        logs: list[Tracker] = []
        if writes:
            logs = [stack.enter_context(MetricsLog(folder / "metrics.jsonl", first))]
            if first < settings.steps:
                logs += stack.enter_context(trackers(settings.log, folder, first, identity))
        bar = (reporter if writes else SILENT).progress(settings.steps, "step", "training", initial=first)
        progress = _Progress(stack.enter_context(bar))
        batches = stack.enter_context(
            prefetched(make_batch, first, settings.steps, threads=settings.threads, ahead=settings.ahead)
        )
        record = _Recorder(logs, progress, settings.skips_in_a_row)
        for number, batch in enumerate(batches, start=first + 1):
            state, metrics = advance(state, frozen, placement.batch(batch))
            record(number, metrics, images=math.prod(batch.images.shape[:-3]))
            last = number == settings.steps
            if validate is not None and (last or number % settings.validate_every == 0):
                record.finish()
                state = settled(state)
                values = validate(state)
                for log in logs:
                    log.write(number, "validation", values)
            if last or number % settings.checkpoint_every == 0:
                record.finish()
                for log in logs:
                    log.flush()
                state = settled(state)
                checkpoints.save(state)
                if not last:
                    continuation.saved()
        record.finish()
    return state


class _Recorder:
    """Logs each step when the next one is on its way, so that reading its metrics does not hold up the device."""

    def __init__(self, logs: Sequence[Tracker], progress: _Progress, skips_in_a_row: int):
        self._logs, self._progress, self._limit = logs, progress, skips_in_a_row
        self._pending: tuple[int, Metrics, int] | None = None

    def __call__(self, number: int, metrics: Metrics, images: int) -> None:
        self.finish()
        self._pending = (number, metrics, images)

    def finish(self) -> None:
        """Logs the step that was not yet. Raises :class:`Diverged` if an adapter skipped too many in a row."""
        if self._pending is None:
            return
        (number, metrics, images), self._pending = self._pending, None
        metrics = jax.device_get(settled(metrics))
        self._progress.advance(images, metrics["loss"])
        in_a_row = metrics["skipped_in_a_row"]
        worst = int(np.argmax(in_a_row))
        for log in self._logs:
            log.write(number, "training", metrics)
        if in_a_row[worst] > self._limit:
            how_long = f" for {in_a_row[worst]} steps in a row; a lower learning rate may help" * (self._limit > 0)
            raise Diverged(
                f"training stopped at step {number}: loss or gradient of adapter {worst} was not finite{how_long}"
            )


class _Progress:
    """Tells a bar the steps that were taken, the loss and the images per second."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._images, self._start = 0, time.monotonic()

    def advance(self, images: int, losses: np.ndarray) -> None:
        self._images += images
        speed = self._images / (time.monotonic() - self._start)
        self._bar.set_postfix_str(f"loss {np.mean(losses):.4g}, {speed:.1f} images/s", refresh=False)
        self._bar.update()


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Writes ``identity`` to ``path``, or raises InputError if another one is there."""
    identity = json.loads(json.dumps(identity))
    if not path.exists():
        write_bytes(path, (json.dumps(identity, indent=2) + "\n").encode())
        return
    stored = read_json(path, dict)
    keys = [key for key in {**stored, **identity} if stored.get(key) != identity.get(key)]
    if keys:
        raise InputError(
            f"{path.parent}: holds a run with other settings: "
            + ", ".join(f"{key} is {stored.get(key)!r} there and {identity.get(key)!r} here" for key in keys)
        )
