"""k adapters on a CPU: each is a program of its own, and as many run side by side as there are cores.

One program for all of them does the same arithmetic, but its arrays are k times as large, which caches of a CPU do not hold,
and ``vmap`` makes grouped convolutions of the dense head's. ``experiments.benchmark training`` compares the two.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from experiments.process.cores import available_cores
from experiments.training.batch import TrainingBatch
from experiments.training.step import Frozen, Metrics, TrainingState


class SideBySide:
    """A step of k adapters made of one for one adapter; it takes and returns what the step of all would.

    Args:
        step: a jitted step; it must leave its arguments' memory alone.
        k: adapters.
    """

    def __init__(self, step: Any, k: int):
        self._step, self._compiled = step, {}
        self._threads = ThreadPoolExecutor(min(k, len(available_cores())), "adapter")
        self._split_state = jax.jit(lambda state: [_adapter(state, i) for i in range(k)])
        self._split_batch = jax.jit(lambda batch: [_part(batch, i) for i in range(k)])
        self._join = jax.jit(_join)

    def __call__(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
        states, batches = self._split_state(state), self._split_batch(batch)
        compiled = self._program(states[0], frozen, batches[0])

        def one(state: TrainingState, batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
            return jax.block_until_ready(compiled(state, frozen, batch))

        return self._join(list(self._threads.map(one, states, batches)))

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


def _join(parts: list[tuple[TrainingState, Metrics]]) -> tuple[TrainingState, Metrics]:
    state, metrics = jax.tree.map(lambda *leaves: jnp.concatenate(leaves) if leaves[0].ndim else leaves[0], *parts)
    return state, metrics
