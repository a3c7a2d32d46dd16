"""What an adapter is: numbers to train, and a pure function from them to the changes of a base model's weights.

A :class:`Maker` is one way of fine-tuning. It stores its settings and its constants (bases, initial factors), never what
is trained, and never the base model. Makers are pytrees whose leaves are the constants: pass them into ``jit`` as an
argument, beside the base. What is trained is an ordinary pytree, so that optax sees the trained numbers only, and k
adapters are the same pytree with one more axis in front::

    maker = LoRA(select(adaptable(model), ["aggregator.*"]), rank=16, alpha=16)
    params = initialize(maker, key, count=10, init="independent")       # ten adapters

    def loss(params, maker, base, batch):                                # of one adapter
        return mean_error(nnx.merge(graphdef, base)(batch.images, deltas=maker.deltas(params)), batch)

    gradients = jax.vmap(jax.grad(loss), in_axes=(0, None, None, 0))(params, maker, base, batches)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from subspace import LowRank
from subspace.errors import InputError
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import Matrix
from vggt_jax.deltas import Deltas, low_rank_only
from vggt_jax.patterns import matching

Params = Any
"""A pytree of arrays, what one maker trains."""
Init = Literal["independent", "shared"]


@runtime_checkable
class Maker(Protocol):
    """One way of fine-tuning. Both functions work under ``jit``, ``vmap`` and ``grad``."""

    def init(self, key: Key[Array, ""]) -> Params:
        """What is trained, at step 0, where :meth:`deltas` is zero up to rounding."""
        ...

    def deltas(self, params: Params) -> Deltas:
        """The changes of the weights, scale included, for the base as it was loaded, whatever the method."""
        ...


@register_dataclass
@dataclass(frozen=True)
class Combined:
    """Several makers at once, over disjoint or overlapping matrices: updates of the same matrix add up.

    The paper's subspace form is one: an M on every matrix, and a plain LoRA on those of the heads. What is trained is a
    tuple with the makers' own parameters.
    """

    makers: tuple[Maker, ...]

    def init(self, key: Key[Array, ""]) -> Params:
        return tuple(maker.init(jax.random.fold_in(key, i)) for i, maker in enumerate(self.makers))

    def deltas(self, params: Params) -> dict[str, LowRank]:
        found: dict[str, LowRank] = {}
        for maker, own in zip(self.makers, params, strict=True):
            for path, delta in low_rank_only(maker.deltas(own)).items():
                found[path] = found[path] + delta if path in found else delta
        return found


def initialize(
    maker: Maker, key: Key[Array, ""], count: int, init: Init, places: tuple[int, ...] | None = None
) -> Params:
    """``count`` adapters at step 0: :meth:`Maker.init`'s pytree with a leading axis of that length.

    With ``places`` there are only the adapters at these places among them.

    ``init`` says how random factors begin: ``independent`` of each other, or all with the same numbers (``shared``, as
    when PEFT trains several adapters with one seed). It matters for mining: an input factor hardly moves in training, so
    adapters that share its draw have an input-side subspace in common before they learn anything.

    Raises ValueError for a count below 1, for places that are none or not among 0 to ``count`` - 1, and for other ``init``.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    if init not in get_args(Init):
        raise InputError(f"init {init!r} is not one of {', '.join(get_args(Init))}")
    if places is not None and (not places or min(places) < 0 or max(places) >= count):
        raise InputError(f"places must lie between 0 and {count - 1}, at least one, got {places}")
    keys = jax.random.split(key, count) if init == "independent" else jnp.broadcast_to(key, (count,))
    return _init_each(maker, keys if places is None else keys[jnp.array(places)])


@jax.jit
def _init_each(maker: Maker, keys: Key[Array, " count"]) -> Params:
    return jax.lax.map(maker.init, keys)  # under vmap XLA needs minutes to compile the random draws


def select(matrices: Mapping[str, Matrix], patterns: Sequence[str]) -> dict[str, Matrix]:
    """The matrices whose path one of the ``patterns`` matches, such as ``aggregator.*`` or ``*.mlp.fc?``.

    ``*`` stands for any characters, dots included. Raises ValueError for a pattern that matches nothing.
    """
    chosen = matching({path: (path,) for path in matrices}, patterns, "adaptable matrix")
    return {path: matrix for path, matrix in matrices.items() if path in chosen}


def check_scale(rank: int, alpha: float) -> None:
    """Raises ValueError unless alpha / rank is a scale: a rank of at least 1 and a positive alpha."""
    if rank < 1:
        raise InputError(f"rank must be at least 1, got {rank}")
    if not alpha > 0:
        raise InputError(f"alpha must be positive, got {alpha}")
