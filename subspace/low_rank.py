"""The one type that all packages speak: a stack of updates dW = A Bᵀ in factored form."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from subspace.errors import InputError
from subspace.namespace import AnyArray, compiled_for_jax, matmul, namespace
from subspace.pytrees import register_dataclass
from subspace.svd import svd
from subspace.threads import after, one_blas_thread


@register_dataclass
@dataclass(frozen=True, eq=False)
class LowRank:
    """A low-rank matrix dW = A Bᵀ, or a stack of them, that is never multiplied out.

    The orientation is the paper's (Sec. 3) and PyTorch's: ``n`` outputs by ``m`` inputs, the transpose of a JAX kernel.
    In PEFT's names A is ``scale · lora_B`` and B is ``lora_Aᵀ``. Leading axes (adapters, layers) are free and are the
    same for A and B. Instances are pytrees: ``jit``, ``vmap``, ``grad`` and ``jax.tree.map`` see the leaves A and B.
    These may be NumPy's arrays, too: arithmetic and the formulas of one update then stay with NumPy, in its precision.

    Example::

        x = LowRank(A, B)            # A (24, 1024, 16), B (24, 4096, 16): 24 layers, rank 16
        x.shape                      # (24, 1024, 4096)
        (2 * x - x[0]).rank          # 32: sums concatenate the factors
    """

    A: Float[AnyArray, "*layers n r"]
    B: Float[AnyArray, "*layers m r"]

    # NumPy's scalars would otherwise take `np.float32(2) * x` for an array operation
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        if any(type(factor).__module__.split(".")[0] == "torch" for factor in (self.A, self.B)):
            raise InputError("LowRank takes arrays of NumPy or JAX, got PyTorch's tensors: call .numpy() on them")
        a, b = getattr(self.A, "shape", None), getattr(self.B, "shape", None)
        if a is None or b is None:  # JAX's transformations also rebuild the tree with placeholders as leaves
            return
        if len(a) < 2 or len(b) < 2 or a[:-2] != b[:-2] or a[-1] != b[-1]:
            raise InputError(
                f"LowRank needs A (..., n, r) and B (..., m, r) with equal leading axes, got A {a} and B {b}"
            )

    @property
    def rank(self) -> int:
        """Columns of the factors: an upper bound of the matrix's rank."""
        return self.A.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (..., n, m) that the dense matrix would have."""
        return (*self.A.shape[:-1], self.B.shape[-2])

    @property
    def dtype(self) -> jnp.dtype:
        """The type that A and B promote to."""
        return namespace(self).result_type(self.A, self.B)

    @property
    def mT(self) -> LowRank:
        """The transposed matrices B Aᵀ."""
        return LowRank(self.B, self.A)

    def to_dense(self) -> Float[AnyArray, "*layers n m"]:
        """A Bᵀ, multiplied out."""
        return matmul(self.A, self.B.mT)

    def to_numpy(self, dtype: DTypeLike | None = None) -> LowRank:
        """The same update on the host, as NumPy's arrays of the type ``dtype`` (None: as they are)."""
        return LowRank(np.asarray(self.A, dtype), np.asarray(self.B, dtype))

    def widened(self, rank: int) -> LowRank:
        """The same matrices with zero columns up to ``rank``, which must not be less than the own."""
        if rank == self.rank:
            return self
        xp, zeros = namespace(self), [(0, 0)] * (self.A.ndim - 1) + [(0, rank - self.rank)]
        return LowRank(xp.pad(self.A, zeros), xp.pad(self.B, zeros))

    def __getitem__(self, index) -> LowRank:
        """Index the leading axes: ``x[0]`` is the first layer of a stack."""
        return LowRank(self.A[index], self.B[index])

    def __add__(self, other: LowRank) -> LowRank:
        """The exact sum, of rank ``self.rank + other.rank``; leading axes broadcast."""
        if not isinstance(other, LowRank):
            return NotImplemented
        if self.shape[-2:] != other.shape[-2:]:
            raise InputError(f"cannot add updates of {self.shape[-2:]} and {other.shape[-2:]} matrices")
        return LowRank(_beside(self.A, other.A), _beside(self.B, other.B))

    def __neg__(self) -> LowRank:
        return LowRank(-self.A, self.B)

    def __sub__(self, other: LowRank) -> LowRank:
        return self + -other if isinstance(other, LowRank) else NotImplemented

    def __mul__(self, factor) -> LowRank:
        """The update times a number, or times one number for each matrix of the stack (an array (...,))."""
        if isinstance(factor, LowRank):
            return NotImplemented
        xp = namespace(self, factor)
        A = self.A * (factor if np.ndim(factor) == 0 else xp.asarray(factor)[..., None, None])
        return LowRank(A, xp.broadcast_to(self.B, (*A.shape[:-2], *self.B.shape[-2:])))

    __rmul__ = __mul__

    def __truediv__(self, factor) -> LowRank:
        return self * (1 / (factor if np.ndim(factor) == 0 else namespace(self, factor).asarray(factor)))


def _beside(x: AnyArray, y: AnyArray) -> AnyArray:
    """Columns of ``x`` and ``y`` next to each other, with broadcast leading axes."""
    xp, layers = namespace(x, y), np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return xp.concatenate([xp.broadcast_to(z, (*layers, *z.shape[-2:])) for z in (x, y)], axis=-1)


def at_least_float32(x: LowRank) -> LowRank:
    """The same update in a type that LAPACK knows: half precision and integers become float32."""
    return jax.tree.map(lambda leaf: leaf if leaf.dtype in (np.float32, np.float64) else leaf.astype(np.float32), x)


def inner_product(x: LowRank, y: LowRank) -> Float[AnyArray, "*layers"]:
    """The Frobenius inner product tr(Xᵀ Y) of each pair of matrices, equivalent to ``sum(X * Y)`` of the dense ones.

    Costs two r×r' Gram matrices. Between nearly equal updates it loses half of the digits to cancellation; for the length
    of a difference use ``frobenius_norm(x - y)``, which does not. Half precision is computed in float32, NumPy's factors by
    NumPy.

    Args:
      x: (*layers, n, m), any rank.
      y: the same matrices' shape, any rank; leading axes broadcast.

    Raises:
      ValueError: for matrices of different sizes.
    """
    if x.shape[-2:] != y.shape[-2:]:
        raise InputError(f"no inner product of {x.shape[-2:]} and {y.shape[-2:]} matrices")
    x, y = at_least_float32(x), at_least_float32(y)
    gram_a, gram_b = matmul(x.A.mT, y.A), matmul(x.B.mT, y.B)
    return (gram_a * gram_b).sum(axis=(-2, -1))


def _norm(x: LowRank) -> Float[AnyArray, "*layers"]:
    xp, core = namespace(x), _core(x)
    largest = xp.max(xp.abs(core), axis=(-2, -1), keepdims=True, initial=0)  # of rank 0 there are no numbers
    unit = core / xp.where(largest > 0, largest, 1)  # squares of 1e-25 would underflow in float32
    return largest[..., 0, 0] * xp.sqrt(xp.sum(unit**2, axis=(-2, -1)))


_norm_with_derivative = jax.custom_jvp(_norm)


@_norm_with_derivative.defjvp
def _norm_jvp(primals: tuple[LowRank], tangents: tuple[LowRank]) -> tuple[AnyArray, Array]:
    (x,), (dx,) = primals, tangents
    norm = _norm_with_derivative(x)
    slope = inner_product(x, LowRank(dx.A, x.B)) + inner_product(x, LowRank(x.A, dx.B))
    return norm, jnp.where(norm > 0, slope / jnp.where(norm > 0, norm, 1), 0)


_jitted_norm = one_blas_thread(jax.jit(_norm_with_derivative))


def _core(x: LowRank) -> Float[AnyArray, "*layers p q"]:
    """R_A R_Bᵀ, which has the singular values of A Bᵀ: p = min(n, r), q = min(m, r)."""
    x, xp = at_least_float32(x), namespace(x)
    R_A = xp.linalg.qr(x.A, mode="r")
    R_B = xp.linalg.qr(after(x.B, R_A), mode="r")
    return matmul(R_A, R_B.mT)


def frobenius_norm(x: LowRank) -> Float[AnyArray, "*layers"]:
    """‖A Bᵀ‖_F of each matrix, equivalent to ``numpy.linalg.norm(x.to_dense(), axis=(-2, -1))``.

    Goes through the QR factors, so that it is exact for differences of nearly equal updates, too. The derivative at a zero
    update is defined as zero. NumPy's factors are computed by NumPy.
    """
    return _norm(x) if namespace(x) is np else _jitted_norm(x)


@compiled_for_jax()
def singular_values(x: LowRank) -> Float[AnyArray, "*layers p"]:
    """The p = min(n, m, r) largest singular values of each matrix, in decreasing order; all further ones are zero.

    NumPy's factors are computed by NumPy.
    """
    return namespace(x).linalg.svd(_core(x), compute_uv=False)


@compiled_for_jax()
def canonicalize(x: LowRank) -> LowRank:
    """The same matrices with A = U Σ^½, B = V Σ^½ from their singular value decomposition A Bᵀ = U Σ Vᵀ (Sec. 4.3).

    Two updates that are equal as matrices become equal as factors, up to signs and turns within equal singular values.
    The result has rank p = min(n, m, r), A (*layers, n, p) and B (*layers, m, p); columns are in decreasing order of Σ.
    NumPy's factors are computed by NumPy.
    """
    U, sigma, V = orthonormal_factors(x)
    root = namespace(x).sqrt(sigma)[..., None, :]
    return LowRank(U * root, V * root)


def orthonormal_factors(x: LowRank) -> tuple[AnyArray, AnyArray, AnyArray]:
    """U (..., n, p), Σ (..., p) and V (..., m, p) with A Bᵀ = U diag(Σ) Vᵀ and p = min(n, m, r)."""
    x, xp = at_least_float32(x), namespace(x)
    Q_A, R_A = xp.linalg.qr(x.A)
    Q_B, R_B = xp.linalg.qr(after(x.B, R_A))
    u, sigma, vt = svd(matmul(R_A, R_B.mT))
    return matmul(Q_A, u), sigma, matmul(Q_B, vt.mT)
