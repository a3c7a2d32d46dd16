"""How AdaLoRA spends its budget: importance of triplets, and which of them stay (Zhang et al. 2023, Sec. 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from subspace.errors import InputError
from subspace.pytrees import register_dataclass
from vggt_jax.adapters.adalora import Triplets


@dataclass(frozen=True)
class RankAllocation:
    """From ``initial_rank`` triplets in every matrix to ``target_rank`` on average, the least important ones first.

    All triplets stay for the first ``warmup`` of ``steps`` steps (counted from 1). Then the budget falls with the cube of
    the time that is left, to reach its target ``final`` steps before the end, and every ``interval`` steps the Λ of the
    triplets beyond it are set to zero; as their vectors stay, they may come back. In the final steps the choice is fixed.

    Importance is |number × gradient|, smoothed with ``beta1`` and times its smoothed deviation (``beta2``), Eq. 8 to 10; a
    triplet's is that of its Λ and the means over its two vectors. Numbers of PEFT are the same to rounding.

    Raises ValueError for settings that contradict each other.
    """

    steps: int
    initial_rank: int
    target_rank: int
    warmup: int
    final: int
    interval: int = 1
    beta1: float = 0.85
    beta2: float = 0.85

    def __post_init__(self) -> None:
        if not 1 <= self.target_rank <= self.initial_rank:
            raise InputError(f"target rank {self.target_rank} must lie between 1 and the rank {self.initial_rank}")
        if min(self.warmup, self.final) < 0 or self.warmup >= self.steps - self.final:
            raise InputError(
                f"{self.steps} steps leave none to allocate ranks in between {self.warmup} of warm-up and {self.final} "
                "final ones"
            )
        if self.interval < 1:
            raise InputError(f"interval must be at least 1, got {self.interval}")
        if not (0 < self.beta1 < 1 and 0 < self.beta2 < 1):
            raise InputError(f"beta1 and beta2 must lie between 0 and 1, got {self.beta1} and {self.beta2}")

    @classmethod
    def over(cls, steps: int, rank: int, target_rank: int) -> RankAllocation:
        """A tenth of the steps to warm up, the last four tenths with fixed ranks, and about a hundred allocations
        between them: the proportions of the paper's appendix."""
        return cls(steps, rank, target_rank, steps // 10, 4 * steps // 10, max(1, steps // 200))

    def budgets(self, matrices: int) -> Int[np.ndarray, " steps"]:
        """Triplets that may stay after each step, of all ``matrices`` together (Eq. 11)."""
        first, last = self.initial_rank * matrices, self.target_rank * matrices
        step = np.arange(1, self.steps + 1)
        left = 1 - (step - self.warmup) / (self.steps - self.final - self.warmup)
        falling = ((first - last) * left**3 + last).astype(int)
        return np.where(step <= self.warmup, first, np.where(step >= self.steps - self.final, last, falling))

    def allocates(self) -> Bool[np.ndarray, " steps"]:
        """After which steps triplets are chosen anew."""
        step, end = np.arange(1, self.steps + 1), self.steps - self.final
        return (step > self.warmup) & (step <= end) & ((step % self.interval == 0) | (step == end))

    def init(self, params: Mapping[str, Triplets]) -> Allocated:
        """The state before the first step."""
        # not the same arrays twice, which a step could not reuse the memory of
        sensitivity, uncertainty = (jax.tree.map(jnp.zeros_like, dict(params)) for _ in range(2))
        kept = {path: jnp.ones(own.Lambda.shape, bool) for path, own in params.items()}
        return Allocated(jnp.zeros((), jnp.int32), sensitivity, uncertainty, kept)

    def update(
        self, params: Mapping[str, Triplets], gradients: Mapping[str, Triplets], state: Allocated
    ) -> tuple[dict[str, Triplets], Allocated]:
        """The step that follows each of the optimiser's: a pure function, for ``jit`` and ``vmap``.

        Args:
          params: after the optimiser's step.
          gradients: those that it was given, at the numbers before it.
          state: from the step before.

        Returns:
          ``params`` with zeros in the Λ of triplets that go, and the new state.
        """
        matrices = sum(own.Lambda.size for own in params.values()) // self.initial_rank
        budgets, allocates = jnp.asarray(self.budgets(matrices)), jnp.asarray(self.allocates())
        step = jnp.minimum(state.step, self.steps - 1)
        end = self.steps - self.final
        smoothed = self._smoothed(params, gradients, state)
        # The last allocation goes by what was smoothed before it, in the authors' code as in PEFT's.
        sensitivity, uncertainty = jax.tree.map(
            lambda new, old: jnp.where(state.step + 1 < end, new, old),
            smoothed,
            (dict(state.sensitivity), dict(state.uncertainty)),
        )
        scores = triplet_scores(jax.tree.map(jnp.multiply, sensitivity, uncertainty))
        most_important = _within(scores, budgets[step])
        kept = jax.tree.map(lambda new, old: jnp.where(allocates[step], new, old), most_important, state.kept)
        masks = allocates[step] | (state.step + 1 > end)
        pruned = {
            path: Triplets(own.P, jnp.where(kept[path] | ~masks, own.Lambda, 0), own.Q) for path, own in params.items()
        }
        return pruned, Allocated(state.step + 1, sensitivity, uncertainty, kept)

    def _smoothed(
        self, params: Mapping[str, Triplets], gradients: Mapping[str, Triplets], state: Allocated
    ) -> tuple[dict[str, Triplets], dict[str, Triplets]]:
        """Sensitivity and uncertainty of every number, Eq. 9 and 10."""
        now = jax.tree.map(lambda number, gradient: jnp.abs(number * gradient), dict(params), dict(gradients))
        sensitivity = jax.tree.map(
            lambda mean, new: self.beta1 * mean + (1 - self.beta1) * new, dict(state.sensitivity), now
        )
        uncertainty = jax.tree.map(
            lambda mean, new, smooth: self.beta2 * mean + (1 - self.beta2) * jnp.abs(new - smooth),
            dict(state.uncertainty),
            now,
            sensitivity,
        )
        return sensitivity, uncertainty


@register_dataclass
@dataclass(frozen=True)
class Allocated:
    """What a :class:`RankAllocation` keeps from step to step."""

    step: Int[Array, ""]
    """Steps taken."""
    sensitivity: Mapping[str, Triplets]
    uncertainty: Mapping[str, Triplets]
    kept: Mapping[str, Bool[Array, "*layers r"]]
    """The triplets that the last allocation left; all before the first."""


def triplet_scores(importance: Mapping[str, Triplets]) -> dict[str, Float[Array, "*layers r"]]:
    """Importance of each triplet from that of its numbers: of its Λ, plus the means over both vectors (Eq. 7)."""
    return {path: own.Lambda + own.P.mean(axis=-2) + own.Q.mean(axis=-2) for path, own in importance.items()}


def _within(scores: Mapping[str, Array], budget: Int[Array, ""]) -> dict[str, Array]:
    """Which triplets have more than the largest of the scores that must go; none must with a budget for all."""
    ascending = jnp.sort(jnp.concatenate([own.ravel() for own in scores.values()]))
    excess = ascending.size - budget
    threshold = jnp.where(excess > 0, ascending[jnp.maximum(excess, 1) - 1], -jnp.inf)
    return {path: own > threshold for path, own in scores.items()}
