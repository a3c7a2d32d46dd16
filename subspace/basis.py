"""The union of several attributes' subspaces as one orthonormal basis for fine-tuning (Sec. 3, last paragraph)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import DTypeLike

from subspace.angles import Frame, Side, default_rank_tolerance, frames
from subspace.errors import InputError
from subspace.grouping import solve_in_groups
from subspace.low_rank import LowRank, frobenius_norm
from subspace.namespace import AnyArray, matmul, namespace
from subspace.pytrees import register_dataclass
from subspace.svd import svd
from subspace.threads import after, is_traced, one_blas_thread
from subspace.validation import check_by_name, check_finite, check_pair, check_side, check_update

TOLERANCE = 1e-3
"""Default of ``tolerance``: attributes' directions that agree to within about 0.1 % become one."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal Ā and B̄ for updates dW = Ā M B̄ᵀ (Sec. 3). Columns past a layer's own rank are zero."""

    A: Float[AnyArray, "*layers n D_output"]
    """Ā, a basis of the outputs."""
    B: Float[AnyArray, "*layers m D_input"]
    """B̄, a basis of the inputs."""
    output_rank: Int[AnyArray, "*layers"]
    """Columns of Ā that are not zero: the D of this layer on the output side."""
    input_rank: Int[AnyArray, "*layers"]
    """Columns of B̄ that are not zero."""
    output_spectrum: Float[AnyArray, "*layers D_output"]
    """Singular values of the attributes' concatenated orthonormal bases on the output side: √t where t attributes share a
    direction, 1 for a direction of one attribute alone, near 0 for what the others already span."""
    input_spectrum: Float[AnyArray, "*layers D_input"]
    """The singular values of the input side, in the same meaning."""

    @classmethod
    def of_canonical(cls, subspace: LowRank, computed_in: DTypeLike | None = None) -> Basis:
        """The column space and the row space of canonical factors, whose columns need only be divided by their norms.

        Args:
          subspace: A (*layers, n, d) and B (*layers, m, d), each with orthogonal columns, as
            :func:`subspace.shared_subspace` and :func:`subspace.canonicalize` return them. A zero column stays zero, and one
            whose singular value is rounding becomes zero. NumPy's factors are computed by NumPy.
          computed_in: type whose rounding that is: float32 for factors that were mined in it and are read in float64. By
            default the factors' own.
        """
        xp = namespace(subspace)
        (A, output_rank), (B, input_rank) = (_unit_columns(side, computed_in) for side in (subspace.A, subspace.B))
        spectra = (xp.ones((*subspace.shape[:-2], subspace.rank), A.dtype) for _ in "AB")
        return cls(A, B, output_rank, input_rank, *spectra)

    def expand(self, M: Float[AnyArray, "*layers D_output D_input"]) -> LowRank:
        """The update Ā M B̄ᵀ. Entries of M that belong to zero columns have no effect."""
        return LowRank(matmul(self.A, M), self.B)

    def narrowed(self, dim: int | None = None) -> Basis:
        """Without the columns that are zero in every layer, and with at most ``dim`` columns on each side.

        At least one column stays. Raises ValueError for a ``dim`` below 1. Not under ``jit``.
        """
        _check_dim(dim)
        widths = []
        for rank in (self.output_rank, self.input_rank):
            used = max(1, int(np.max(np.asarray(rank))))
            widths.append(used if dim is None else min(dim, used))
        return self._cut(self.A.shape[-2], self.B.shape[-2], *widths)

    def _cut(self, n: int, m: int, D_output: int, D_input: int) -> Basis:
        """The first rows and columns."""
        xp = namespace(self)
        return Basis(
            self.A[..., :n, :D_output],
            self.B[..., :m, :D_input],
            xp.minimum(self.output_rank, D_output),
            xp.minimum(self.input_rank, D_input),
            self.output_spectrum[..., :D_output],
            self.input_spectrum[..., :D_input],
        )


def _unit_columns(
    columns: Float[AnyArray, "*layers n d"], computed_in: DTypeLike | None
) -> tuple[Float[AnyArray, "*layers n d"], Int[AnyArray, "*layers"]]:
    """Columns of norm 1, and how many there are; those of norm √σ with a σ that is rounding are zero."""
    xp = namespace(columns)
    norms = xp.linalg.norm(columns, axis=-2, keepdims=True)
    rounded_to = np.promote_types(norms.dtype, np.float32) if computed_in is None else np.dtype(computed_in)
    tolerance = sqrt(default_rank_tolerance(columns.shape[-1], rounded_to))
    used = norms > tolerance * xp.max(norms, -1, keepdims=True, initial=0)
    return xp.where(used, columns / xp.where(used, norms, 1), 0), xp.sum(used[..., 0, :], axis=-1)


def merge_subspaces(
    subspaces: Mapping[str, LowRank],
    ranks: int | Mapping[str, int | Int[AnyArray, "*layers"]] | None = None,
    *,
    dim: int | None = None,
    tolerance: float = TOLERANCE,
) -> Basis:
    """Concatenate the attributes' subspaces and orthogonalise them, dropping what is there twice (Sec. 3).

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
    check_by_name(subspaces, "subspaces")
    names = list(subspaces)
    if not names:
        raise InputError("subspaces is empty: there is nothing to merge")
    first = subspaces[names[0]]
    for name, subspace in subspaces.items():
        check_pair(first, subspace, (names[0], name))
        if subspace.shape != first.shape:
            raise InputError(f"{name} {subspace.shape} and {names[0]} {first.shape} have different layers")
    if isinstance(ranks, Mapping) and set(ranks) != set(names):
        raise InputError(f"ranks must name the attributes {names}, got {list(ranks)}")
    chosen = [ranks[name] if isinstance(ranks, Mapping) else ranks for name in names]
    parts = list(subspaces.values())
    widths = [_width(name, part, own) for name, part, own in zip(names, parts, chosen, strict=True)]
    layers = first.shape[:-2]
    counts = jnp.stack(
        [jnp.broadcast_to(width if own is None else own, layers) for width, own in zip(widths, chosen, strict=True)]
    )
    found = _merge(_of_one_rank(parts), counts, tolerance)
    return found._cut(*first.shape[-2:], *_columns(sum(widths), first.shape[-2:], dim))


def merge_subspaces_by_path(
    subspaces: Mapping[str, Mapping[str, LowRank]],
    ranks: Mapping[str, Mapping[str, int | Int[np.ndarray, "*layers"]]] | None = None,
    *,
    dim: int | Mapping[str, int] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Basis]:
    """:func:`merge_subspaces` of every matrix of a model, in few compiled calls whatever the shapes. Not under ``jit``.

    Args:
      subspaces: ``{attribute: {path: LowRank}}``, (*layers, n, m), canonical (:func:`subspace.canonicalize`), so that the
        leading columns are the leading directions; the attributes have the same paths and shapes, ranks may differ.
      ranks: ``{attribute: {path: columns to use}}``, one number or one for each layer; 0 leaves the attribute out. None uses
        all.
      dim: at most this many columns on each side; one number, or one for each path.
      tolerance: as in :func:`merge_subspaces`.

    Returns:
      ``{path: Basis}``, each as :func:`merge_subspaces` returns it, with NumPy's arrays.

    Raises:
      ValueError: as :func:`merge_subspaces`, naming the path.
    """
    if not subspaces:
        raise InputError("subspaces is empty: there is nothing to merge")
    (first_name, first), *others = subspaces.items()
    for name, by_path in others:
        if unshared := sorted(set(first) ^ set(by_path)):
            raise InputError(f"{name} and {first_name} have different matrices: only one has {unshared[0]}")
    for name in subspaces:
        if ranks is not None and (absent := sorted(set(first) - set(ranks.get(name, ())))):
            raise InputError(f"ranks names no number of columns for {absent[0]} of {name}")
    if isinstance(dim, Mapping) and (absent := sorted(set(first) - set(dim))):
        raise InputError(f"dim names no dimension for {absent[0]!r}")
    stacks: dict[str, LowRank] = {}
    widths: dict[str, int] = {}
    for path, subspace in first.items():
        parts = {name: by_path[path] for name, by_path in subspaces.items()}
        for name, part in parts.items():
            if part.shape != subspace.shape:
                raise InputError(f"{name}: {path} is {part.shape}, in {first_name} it is {subspace.shape}")
            check_finite(part, f"{name}: {path}")
        available = {name: min(part.rank, *part.shape[-2:]) for name, part in parts.items()}
        own = {name: np.asarray(available[name] if ranks is None else ranks[name][path]) for name in parts}
        for name, count in own.items():
            if count.min() < 0 or count.max() > available[name]:
                raise InputError(
                    f"ranks of {name} must lie between 0 and {available[name]} in {path}, "
                    f"got {count.min()} to {count.max()}"
                )
        stacks[path] = _of_one_rank([_leading(parts[name], count) for name, count in own.items()])
        widths[path] = sum(int(count.max()) for count in own.values())

    def solve(together: LowRank, _: np.ndarray) -> Basis:
        return _merge(together, jnp.full(together.A.shape[:2], together.rank), tolerance)

    found = {}
    for path, basis in solve_in_groups(stacks, dict.fromkeys(stacks), solve).items():
        size, most = first[path].shape[-2:], dim[path] if isinstance(dim, Mapping) else dim
        found[path] = jax.tree.map(np.asarray, basis)._cut(*size, *_columns(widths[path], size, most))
    return found


def _leading(subspace: LowRank, count: np.ndarray) -> LowRank:
    """Zeros in all but the first ``count`` (*layers or one) columns: a zero column is no direction."""
    used = (np.arange(subspace.rank) < count[..., None])[..., None, :]
    xp = namespace(subspace)
    return LowRank(xp.where(used, subspace.A, 0), xp.where(used, subspace.B, 0))


def _of_one_rank(parts: list[LowRank]) -> LowRank:
    """A (attributes, *layers, n, r), with zero columns for those of a smaller rank."""
    widest = max(part.rank for part in parts)

    def stack(*columns: AnyArray) -> AnyArray:
        xp = namespace(columns)
        return xp.stack([xp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, widest - x.shape[-1])]) for x in columns])

    return jax.tree.map(stack, *parts)


def _width(name: str, subspace: LowRank, rank: int | AnyArray | None) -> int:
    """Columns to reserve for an attribute: the largest rank that any layer may use."""
    available = min(subspace.rank, *subspace.shape[-2:])
    if rank is None or is_traced(rank):
        return available
    smallest, largest = int(np.min(np.asarray(rank))), int(np.max(np.asarray(rank)))
    if smallest < 0 or largest < 1 or largest > available:
        raise InputError(
            f"ranks of {name} must lie between 1 and {available} in some layer, got {smallest} to {largest}"
        )
    return largest


def _columns(width: int, size: tuple[int, ...], dim: int | None) -> tuple[int, ...]:
    """D_output and D_input: the attributes' columns, but no more than there is room for, nor than ``dim``."""
    _check_dim(dim)
    return tuple(max(1, min(width, side, width if dim is None else dim)) for side in size)


def _check_dim(dim: int | None) -> None:
    if dim is not None and dim < 1:
        raise InputError(f"dim must be positive, got {dim}")


@one_blas_thread
@jax.jit
def _merge(stacked: LowRank, counts: Int[Array, " attributes *layers"], tolerance) -> Basis:
    """Of a stack (attributes, *layers, n, m) the basis of all directions; ``counts`` of each attribute's are in use."""
    earlier, sides = jnp.zeros((), stacked.dtype), []
    for whole in frames(stacked):
        number = jax.lax.broadcasted_iota(counts.dtype, whole.present.shape, whole.present.ndim - 1)
        used = whole.present & (number < counts[..., None])
        columns = jnp.moveaxis(jnp.where(used[..., None, :], whole.columns, 0), 0, -2)
        side = columns.reshape(*columns.shape[:-2], -1)  # (*layers, n, attributes · p)
        sides.append(_orthonormal_union(after(side, earlier), tolerance))
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


def _orthonormal_union(columns: Float[AnyArray, "*layers n c"], tolerance) -> tuple[Frame, Array]:
    """Left singular vectors of the columns, zero where the singular value is below the tolerance."""
    Q, R = jnp.linalg.qr(columns)
    u, sigma, _ = svd(R)
    present = sigma > tolerance * sigma[..., :1]
    return Frame(jnp.where(present[..., None, :], matmul(Q, u), 0), present), sigma


def project(delta: LowRank, basis: Basis) -> Float[AnyArray, "*layers D_output D_input"]:
    """The M for which Ā M B̄ᵀ is closest to ``delta`` in the Frobenius norm: Āᵀ dW B̄.

    Args:
      delta: (*layers, n, m) of any rank; leading axes broadcast against the basis's. NumPy's arrays are computed by NumPy.
      basis: of the same matrices.

    Raises:
      ValueError: for matrices of another size.
    """
    _check_size(delta, basis)
    return matmul(matmul(basis.A.mT, delta.A), matmul(delta.B.mT, basis.B))


def captured_energy(delta: LowRank, basis: Basis, side: Side | None = None) -> Float[AnyArray, "*layers"]:
    """‖Āᵀ dW B̄‖² / ‖dW‖²: the share of an update's energy, 0 to 1, that lies in the basis. 0 for a zero update.

    A random basis would capture about D_output · D_input / (n · m), on one side D_output / n or D_input / m.

    Args:
      delta: (*layers, n, m) of any rank; further leading axes, such as adapters, may stand before the basis's layers.
        NumPy's arrays are computed by NumPy.
      basis: of the same matrices; of a mined subspace, ``Basis.of_canonical(shared.factors)``.
      side: None for both; "output" for ‖Āᵀ dW‖² / ‖dW‖², "input" for ‖dW B̄‖² / ‖dW‖².

    Raises:
      ValueError: for matrices of another size, or another ``side``.
    """
    check_side(side)
    _check_size(delta, basis)
    if side is None:
        inside, norm = project(delta, basis), frobenius_norm(delta)
        xp = namespace(inside)
        return xp.minimum(xp.sum((inside / _safe(norm)[..., None, None]) ** 2, axis=(-2, -1)), 1)
    if side == "output":
        inside = LowRank(matmul(basis.A.mT, delta.A), delta.B)
    else:
        inside = LowRank(delta.A, matmul(basis.B.mT, delta.B))
    xp = namespace(inside)
    return xp.minimum((frobenius_norm(inside) / _safe(frobenius_norm(delta))) ** 2, 1)


def _safe(norm: Float[AnyArray, "*layers"]) -> Float[AnyArray, "*layers"]:
    """The norm, with 1 in place of 0."""
    return namespace(norm).where(norm > 0, norm, 1)


def _check_size(delta: LowRank, basis: Basis) -> None:
    check_update(delta, "delta")
    if not isinstance(basis, Basis):
        raise InputError(
            f"basis must be a Basis, got {type(basis).__name__}; of a mined subspace: Basis.of_canonical(shared.factors)"
        )
    if delta.shape[-2:] != (basis.A.shape[-2], basis.B.shape[-2]):
        raise InputError(
            f"delta {delta.shape} does not fit a basis of {basis.A.shape[-2]}×{basis.B.shape[-2]} matrices"
        )
