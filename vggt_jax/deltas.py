"""Updates beside the parameters: how a layer applies one, how they are merged into the weights.

An update is an entry of ``{path: LowRank}``. The path is the dotted module path of the adapted layer, which is the
official checkpoint's name without layer number and ``.weight``: ``"aggregator.frame_blocks.attn.qkv"`` with A (L, 3C,
r) and B (L, C, r), stacked over the L layers, or ``"depth_head.projects.0"`` with A (Cout, r) and B (Cin·kh·kw, r),
rows in PyTorch's order (Cin, kh, kw). Where the lengths of the weights' rows are set as well, :class:`WeightDecomposed`
stands in the place of ``LowRank``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.products import product


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class WeightDecomposed:
    """W becomes magnitude · (W + A Bᵀ) / ‖W + A Bᵀ‖, row by row: DoRA's update (Liu et al. 2024, Eq. 5).

    A low-rank matrix turns the rows of W (one for each output), and their lengths are numbers of their own, so what is
    added to W is of no low rank. The layer that has W applies it; nothing of W's size is stored.
    """

    direction: LowRank
    """A Bᵀ, scale included."""
    magnitude: Float[Array, "*layers n"]
    """Length of every row of the new weight matrix."""

    @property
    def rank(self) -> int:
        """Columns of A and B."""
        return self.direction.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (..., n, m) of the weights."""
        return self.direction.shape

    def gain(self, weights: Float[Array, "*layers n m"]) -> Float[Array, "*layers n"]:
        """What the rows of W + A Bᵀ are multiplied by, float32; rows of zeros stay so.

        The rows' norms are constants to a gradient, as DoRA's authors advise (Sec. 4.3) and PEFT does.
        """
        whole = weights.astype(jnp.float32) + jnp.matmul(self.direction.A, self.direction.B.mT, precision="highest")
        norms = jax.lax.stop_gradient(jnp.linalg.norm(whole, axis=-1))
        return self.magnitude / jnp.where(norms > 0, norms, 1)


Update = LowRank | WeightDecomposed
Deltas = Mapping[str, Update]
NO_DELTAS: Deltas = MappingProxyType({})


def dotted(keys: Iterable[object]) -> str:
    """The path that a leaf's or module's nested keys spell: ``"camera_head.trunk.attn.qkv"``.

    Args:
        keys: those of ``nnx.to_flat_state``, or those of ``jax.tree.leaves_with_path``.
    """
    return jax.tree_util.keystr(tuple(keys), simple=True, separator=".").removesuffix(".value")


def below(deltas: Deltas, name: str) -> dict[str, Update]:
    """The updates of the child module ``name``, with paths relative to it."""
    return {path.removeprefix(name + "."): delta for path, delta in deltas.items() if path.startswith(name + ".")}


def linear_delta(x: Float[Array, "*b m"], delta: LowRank) -> Float[Array, "*b n"]:
    """(x B) Aᵀ in the type of ``x``."""
    a, b = delta.A.astype(x.dtype), delta.B.astype(x.dtype)
    return product(product(x, b), a.mT)


def filters(b: Float[Array | np.ndarray, "m r"], kernel: int) -> Float[Array, "kernel kernel inputs r"]:
    """The r convolution filters that the columns of B hold, from PyTorch's row order (Cin, kh, kw) to HWIO."""
    return jnp.asarray(b).reshape(-1, kernel, kernel, b.shape[-1]).transpose(1, 2, 0, 3)


def kernel_matrix(kernel: Float[Array, "*stack"], *, conv: bool) -> Float[Array, "*layers n m"]:
    """The matrix that dW is added to: a linear kernel (*layers, m, n) transposed, or a convolution's HWIO kernel with
    columns in PyTorch's order (Cin, kh, kw)."""
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[3], -1) if conv else kernel.mT


def merge(base: nnx.State, deltas: Deltas) -> nnx.State:
    """The parameters with every update made to its weight, such as W + dW; ``base`` itself is left alone.

    ``base`` is what ``nnx.split(model)`` returns beside the graph definition. Weights keep their type; sums are made in
    float32. Raises ValueError for a path without a kernel and for factors or magnitudes that do not fit it.
    """
    flat = dict(nnx.to_flat_state(base))
    names = {dotted(keys): keys for keys in flat}
    for path, delta in deltas.items():
        keys = names.get(path + ".kernel")
        if keys is None:
            raise InputError(f"deltas: the parameters hold no {path}.kernel")
        kernel = flat[keys][...]
        low_rank = delta if isinstance(delta, LowRank) else delta.direction
        dense = jnp.matmul(low_rank.A, low_rank.B.mT, precision=jax.lax.Precision.HIGHEST)
        if kernel.ndim == dense.ndim + 2:
            outputs, inputs, height, width = kernel.shape[3], kernel.shape[2], kernel.shape[0], kernel.shape[1]
            if dense.shape != (outputs, inputs * height * width):
                raise InputError(f"deltas: {path} has dW {dense.shape}, its kernel is {kernel.shape} (HWIO)")
            change = dense.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
        else:
            change = dense.mT
        if change.shape != kernel.shape:
            raise InputError(f"deltas: {path} has dW {dense.shape}, its kernel is {kernel.shape} (inputs, outputs)")
        merged = kernel.astype(jnp.float32) + change
        if isinstance(delta, WeightDecomposed):
            if delta.magnitude.shape != dense.shape[:-1]:
                raise InputError(
                    f"deltas: {path} has a magnitude {delta.magnitude.shape}, needed is {dense.shape[:-1]}"
                )
            merged *= delta.gain(kernel_matrix(kernel, conv=kernel.ndim == dense.ndim + 2))[..., None, :]
        flat[keys] = flat[keys].replace(merged.astype(kernel.dtype))
    return nnx.from_flat_state(flat)


def unmerge(base: nnx.State, deltas: Deltas) -> nnx.State:
    """The inverse of :func:`merge`, up to rounding: W - dW.

    Raises InputError for weight-decomposed updates, as the lengths of the rows of W are gone.
    """
    return merge(base, {path: LowRank(-delta.A, delta.B) for path, delta in low_rank_only(deltas).items()})


def low_rank_only(deltas: Deltas, name: str = "deltas") -> dict[str, LowRank]:
    """The same updates, once it is known that all are low-rank matrices.

    Raises InputError, with the ``name`` that they go by, if any is not.
    """
    found = {path: delta for path, delta in deltas.items() if isinstance(delta, LowRank)}
    if other := [path for path in deltas if path not in found]:
        raise InputError(f"{name}: {other[0]} has a weight-decomposed update (DoRA), which is no low-rank matrix")
    return found
