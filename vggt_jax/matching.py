"""Which token of one view shows what a token of another view shows, by features that a linear map reads off the tokens.

Positions count tokens: the token in column i and row j is at (i, j).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.errors import InputError
from subspace.pytrees import register_dataclass


def directed_pairs(views: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sources and targets: the first view to each other one, in order, and each other one back to it."""
    others = tuple(range(1, views))
    return (0,) * len(others) + others, others + (0,) * len(others)


def token_grid(height: int, width: int) -> Float[Array, "p 2"]:
    """(column, row) of every token, row by row."""
    columns, rows = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    return jnp.stack([columns, rows], axis=-1).reshape(-1, 2).astype(jnp.float32)


def normed(tokens: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """Tokens without mean and with unit variance over their channels."""
    centred = tokens - tokens.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


def log_match_probability(features: Float[Array, "b s p c"], temperature: Float[Array, ""]) -> Float[Array, "b n p q"]:
    """For each token of the source view of :func:`directed_pairs`, which of the target view's tokens shows the same.

    The softmax of the features' cosines divided by ``temperature``, as logarithms.
    """
    sources, targets = (jnp.asarray(side) for side in directed_pairs(features.shape[1]))
    features = features * jax.lax.rsqrt(jnp.sum(features * features, axis=-1, keepdims=True) + 1e-6)
    cosines = jnp.einsum("bnpc,bnqc->bnpq", features[:, sources], features[:, targets], precision="highest")
    return jax.nn.log_softmax(cosines / temperature, axis=-1)


def expected_position(log_probability: Float[Array, "b n p q"], grid: tuple[int, int]) -> Float[Array, "b n p 2"]:
    """The soft-argmax over the target view's tokens; ``grid`` has rows and columns."""
    return jnp.einsum("bnpq,qc->bnpc", jnp.exp(log_probability), token_grid(*grid), precision="highest")


def likeliest_position(
    log_probability: Float[Array, "b n p q"], grid: tuple[int, int]
) -> tuple[Float[Array, "b n p 2"], Float[Array, "b n p"]]:
    """The position of the match and the probability that it is there: the mean over the 3×3 tokens at the likeliest one.

    Unlike :func:`expected_position` it does not lie between two places that look alike.
    """
    places = token_grid(*grid)
    best = places[jnp.argmax(log_probability, axis=-1)]
    near = jnp.max(jnp.abs(best[..., None, :] - places), axis=-1) <= 1
    probability = jnp.where(near, jnp.exp(log_probability), 0)
    mass = jnp.sum(probability, axis=-1)
    return jnp.einsum("bnpq,qc->bnpc", probability, places, precision="highest") / mass[..., None], mass


@register_dataclass
@dataclass(frozen=True)
class Matcher:
    """Matches tokens of the aggregator; pre-training makes it beside the model, which does not need it."""

    kernel: Float[Array, "c2 features"]
    log_temperature: Float[Array, ""]
    layer: int = field(metadata={"static": True})
    """Which of the layers that the heads read has its tokens matched."""

    def __call__(
        self, patches: Float[Array, "layers b s p c2"], grid: tuple[int, int]
    ) -> tuple[Float[Array, "b n p 2"], Float[Array, "b n p"]]:
        """:func:`likeliest_position` of patch tokens for :func:`directed_pairs`; ``grid`` has rows and columns."""
        features = self.features(patches)
        return likeliest_position(log_match_probability(features, jnp.exp(self.log_temperature)), grid)

    def features(self, patches: Float[Array, "layers b s p c2"]) -> Float[Array, "b s p features"]:
        """What is compared; its direction counts, not its length."""
        return normed(patches[self.layer]) @ self.kernel

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], layer: int) -> Matcher:
        """From arrays called ``kernel`` and ``log_temperature``; raises ValueError if they are others."""
        if set(arrays) != {"kernel", "log_temperature"} or arrays["kernel"].ndim != 2 or arrays["log_temperature"].ndim:
            found = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
            raise InputError(f"needs kernel (channels, features) and log_temperature (), holds {found}")
        return cls(arrays["kernel"], arrays["log_temperature"], layer)
