"""k adapters on a CPU: each is a program of its own, and as many run side by side as there are cores.

One program for all of them does the same arithmetic, but its arrays are k times as large, which caches of a CPU do not hold,
and ``vmap`` makes grouped convolutions of the dense head's. ``experiments.benchmark training`` compares the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from experiments.process.cores import available_cores
from experiments.training.batch import TrainingBatch
from experiments.training.loss_function import Frozen
from experiments.training.step import Metrics, TrainingState


@dataclass(frozen=True, eq=False)
class Pending:
    """What the adapters' programs will return: some may still run, others wait for a core."""

    futures: Sequence[Future]
    """Of each adapter: its state and metrics after the step."""
    settled: Callable[[], Any]
    """The state or the metrics of all adapters, once every one is there; raises what a program raised."""


def settled(value: Any) -> Any:
    """What ``value`` stands for if it is :class:`Pending`, else ``value`` itself."""
    return value.settled() if isinstance(value, Pending) else value


class SideBySide:
    """A step of k adapters made of one for one adapter; it takes and returns what the step of all would.

    :meth:`ahead` does not wait: an adapter's next step begins when a core is free, whatever the others' last one does, so
    that no core rests between steps if k is no multiple of their number.

    Args:
        step: a jitted step; it must leave its arguments' memory alone.
        k: adapters.
    """

    def __init__(self, step: Any, k: int):
        self._step, self._compiled = step, {}
        self._threads = ThreadPoolExecutor(min(k, len(available_cores())), "adapter")
        self._submitted: deque[Future] = deque(maxlen=4 * k)
        self._split_state = jax.jit(lambda state: [_adapter(state, i) for i in range(k)])
        self._split_batch = jax.jit(lambda batch: [_part(batch, i) for i in range(k)])
        self._join = jax.jit(_join)

    def __call__(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
        state, metrics = (pending.settled() for pending in self.ahead(state, frozen, batch))
        return state, metrics

    def ahead(self, state: TrainingState | Pending, frozen: Frozen, batch: TrainingBatch) -> tuple[Pending, Pending]:
        """State and metrics after a step that may be still to come, from a state that may be, too."""
        batches = self._split_batch(batch)
        if isinstance(state, Pending):
            before = [lambda future=future: future.result()[0] for future in state.futures]
        else:
            before = [lambda part=part: part for part in self._split_state(state)]
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batches[0]))
        if shapes not in self._compiled:
            self._program(before[0](), frozen, batches[0])
        compiled = self._compiled[shapes]

        def one(before: Callable[[], TrainingState], batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
            # Threads take work in its order, so that what is waited for has begun.
            return jax.block_until_ready(compiled(before(), frozen, batch))

        futures = [self._threads.submit(one, *each) for each in zip(before, batches, strict=True)]
        self._submitted.extend(futures)
        of_state, of_metrics = (
            Pending(futures, lambda i=i: self._join([future.result()[i] for future in futures])) for i in (0, 1)
        )
        return of_state, of_metrics

    def cancel(self) -> None:
        """Let go of the steps that no core has begun."""
        for future in self._submitted:
            future.cancel()

    def prepare(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> None:
        """Compile what a call with arrays of these shapes needs."""
        self._program(self._split_state(state)[0], frozen, self._split_batch(batch)[0])

    def _program(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> Any:
        """Of one adapter: compiled once, which threads that call a jitted function together would not care for."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._step.lower(state, frozen, batch).compile()
        return self._compiled[shapes]


def _part(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i : i + 1], tree)


def _adapter(state: TrainingState, i: int) -> TrainingState:
    """The i-th adapter's state; the count of steps has no adapters' axis."""
    return replace(_part(replace(state, step=state.skipped), i), step=state.step)


def _join(parts: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves) if leaves[0].ndim else leaves[0], *parts)
