"""The union of several attributes' subspaces as one orthonormal basis for fine-tuning (Sec. 3, last paragraph)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from subspace.angles import Frame, frame
from subspace.errors import InputError
from subspace.low_rank import LowRank, frobenius_norm
from subspace.threads import after, is_traced, one_blas_thread
from subspace.validation import check_pair

TOLERANCE = 1e-3
"""Default of ``tolerance``: attributes' directions that agree to within about 0.1 % become one."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal Ā and B̄ for updates dW = Ā M B̄ᵀ. Columns past a layer's own rank are zero."""

    A: Float[Array, "*layers n D_output"]
    B: Float[Array, "*layers m D_input"]
    output_rank: Int[Array, "*layers"]
    """Columns of Ā that are not zero: the D of this layer on the output side."""
    input_rank: Int[Array, "*layers"]
    """The same for B̄."""
    output_spectrum: Float[Array, "*layers D_output"]
    """Singular values of the attributes' concatenated orthonormal bases: √t where t attributes share a direction, 1 for a
    direction of one attribute alone, near 0 for what the others already span."""
    input_spectrum: Float[Array, "*layers D_input"]

    def expand(self, M: Float[Array, "*layers D_output D_input"]) -> LowRank:
        """The update Ā M B̄ᵀ. Entries of M that belong to zero columns have no effect."""
        return LowRank(jnp.matmul(self.A, M, precision="highest"), self.B)


def merge_subspaces(
    subspaces: Mapping[str, LowRank],
    ranks: int | Mapping[str, int | Int[Array, "*layers"]] | None = None,
    *,
    dim: int | None = None,
    tolerance: float = TOLERANCE,
) -> Basis:
    """Concatenate the attributes' subspaces and orthogonalise them, dropping what is there twice.

    Each attribute enters with an orthonormal basis of its leading directions, so none outweighs another by the size of its
    updates. The columns of the result are ordered from directions that attributes share to those of one alone.

    Args:
      subspaces: ``{attribute: LowRank}`` over the same matrices, (*layers, n, m), ranks may differ.
      ranks: how many leading directions to use: one number for all, or for each attribute a number or one per layer (see
        :mod:`subspace.allocation`); None uses all.
      dim: at most this many columns on each side (the paper's M has the side min(D, n, m)).
      tolerance: directions whose singular value in the concatenation is below this fraction of the largest are dropped.

    Returns:
      The basis, with the dimension that was really reached in every layer. Its static width D is the sum of the ranks,
      at most n (or m).

    Raises:
      ValueError: outside of ``jit``, for sizes that do not fit, NaN or infinity, ranks out of range.
    """
    names = list(subspaces)
    if not names:
        raise InputError("subspaces is empty: there is nothing to merge")
    first = subspaces[names[0]]
    for name, subspace in subspaces.items():
        check_pair(first, subspace, (names[0], name))
        if subspace.shape != first.shape:
            raise InputError(f"{name} {subspace.shape} and {names[0]} {first.shape} have different layers")
    if dim is not None and dim < 1:
        raise InputError(f"dim must be positive, got {dim}")
    if isinstance(ranks, Mapping) and set(ranks) != set(names):
        raise InputError(f"ranks must name the attributes {names}, got {list(ranks)}")
    chosen = {name: ranks[name] if isinstance(ranks, Mapping) else ranks for name in names}
    widths = tuple(_width(name, subspaces[name], chosen[name]) for name in names)
    counts = [width if chosen[name] is None else chosen[name] for name, width in zip(names, widths, strict=True)]
    return _merge(list(subspaces.values()), counts, tolerance, widths=widths, dim=dim)


def _width(name: str, subspace: LowRank, rank: int | Array | None) -> int:
    """Columns to reserve for an attribute: the largest rank that any layer may use."""
    available = min(subspace.rank, *subspace.shape[-2:])
    if rank is None or is_traced(rank):
        return available
    smallest, largest = int(jnp.min(jnp.asarray(rank))), int(jnp.max(jnp.asarray(rank)))
    if smallest < 0 or largest < 1 or largest > available:
        raise InputError(
            f"ranks of {name} must lie between 1 and {available} in some layer, got {smallest} to {largest}"
        )
    return largest


@one_blas_thread
@partial(jax.jit, static_argnames=("widths", "dim"))
def _merge(subspaces: list[LowRank], counts: list, tolerance, *, widths: tuple[int, ...], dim: int | None) -> Basis:
    sides = []
    earlier = jnp.zeros(())
    for side in ("output", "input"):
        columns = []
        for subspace, count, width in zip(subspaces, counts, widths, strict=True):
            whole = frame(LowRank(after(subspace.A, earlier), subspace.B), side)
            used = whole.present[..., :width] & (jnp.arange(width) < jnp.asarray(count)[..., None])
            columns.append(whole.columns[..., :width] * used[..., None, :])
            earlier = whole.columns
        sides.append(_orthonormal_union(after(jnp.concatenate(columns, axis=-1), earlier), tolerance, dim))
        earlier = sides[-1][0].columns
    (output, output_spectrum), (input_, input_spectrum) = sides
    return Basis(
        A=output.columns,
        B=input_.columns,
        output_rank=jnp.sum(output.present, axis=-1),
        input_rank=jnp.sum(input_.present, axis=-1),
        output_spectrum=output_spectrum,
        input_spectrum=input_spectrum,
    )


def _orthonormal_union(columns: Float[Array, "*layers n c"], tolerance, dim: int | None) -> tuple[Frame, Array]:
    """Left singular vectors of the columns, zero where the singular value is below the tolerance."""
    Q, R = jnp.linalg.qr(columns)
    u, sigma, _ = jnp.linalg.svd(R, full_matrices=False)
    u, sigma = u[..., :dim], sigma[..., :dim]
    present = sigma > tolerance * sigma[..., :1]
    return Frame(jnp.matmul(Q, u, precision="highest") * present[..., None, :], present), sigma


def project(delta: LowRank, basis: Basis) -> Float[Array, "*layers D_output D_input"]:
    """The M for which Ā M B̄ᵀ is closest to ``delta`` in the Frobenius norm: Āᵀ dW B̄."""
    if delta.shape[-2:] != (basis.A.shape[-2], basis.B.shape[-2]):
        raise InputError(
            f"delta {delta.shape} does not fit a basis of {basis.A.shape[-2]}×{basis.B.shape[-2]} matrices"
        )
    left = jnp.matmul(basis.A.mT, delta.A, precision="highest")
    return jnp.matmul(left, jnp.matmul(delta.B.mT, basis.B, precision="highest"), precision="highest")


def captured_energy(delta: LowRank, basis: Basis) -> Float[Array, "*layers"]:
    """‖Āᵀ dW B̄‖² / ‖dW‖²: the share of an update's energy, 0 to 1, that lies in the basis. 0 for a zero update.

    A random basis would capture about D_output · D_input / (n · m).
    """
    norm = frobenius_norm(delta)
    M = project(delta, basis) / jnp.where(norm > 0, norm, 1)[..., None, None]
    return jnp.minimum(jnp.sum(M**2, axis=(-2, -1)), 1)
