"""Which weights of a model may take a low-rank update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from flax import nnx
from jaxtyping import Array

from subspace.errors import InputError
from vggt_jax.deltas import Deltas, WeightDecomposed, dotted, kernel_matrix
from vggt_jax.layers import Conv, Linear
from vggt_jax.patterns import ADAPTABLE_PARTS


@dataclass(frozen=True)
class ConvGeometry:
    """How a convolution moves over the image: one number for height and width alike, in pixels."""

    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Matrix:
    """One adaptable weight, or a stack of them: ``n`` outputs by ``m`` inputs (Cin·kh·kw for a convolution)."""

    stack: tuple[int, ...]
    n: int
    m: int
    conv: ConvGeometry | None = None


def adaptable(model: nnx.Module) -> dict[str, Matrix]:
    """The weights of ``model`` (real or abstract) that may take an update, by path."""
    found: dict[str, Matrix] = {}
    for keys, module in nnx.iter_modules(model):
        path = dotted(keys)
        if not path.startswith(tuple(part + "." for part in ADAPTABLE_PARTS)):
            continue
        if isinstance(module, Linear):
            *stack, m, n = module.kernel.shape
            found[path] = Matrix(tuple(stack), n, m)
        elif isinstance(module, Conv):
            *window, inputs, n = module.kernel.shape
            found[path] = Matrix((), n, inputs * prod(window), ConvGeometry(window[0], module.stride, module.padding))
    return dict(sorted(found.items()))


def weights_of(base: nnx.State, matrices: Mapping[str, Matrix]) -> Iterator[tuple[str, Array]]:
    """Path and weights (*stack, n, m) of the matrices, one by one, from the parameters that ``nnx.split(model)`` gives."""
    leaves = {dotted(keys): leaf for keys, leaf in nnx.to_flat_state(base)}
    for path, matrix in matrices.items():
        yield path, kernel_matrix(leaves[path + ".kernel"][...], conv=matrix.conv is not None)


def check_room(matrices: Mapping[str, Matrix], **sizes: int) -> None:
    """Raises InputError for a size that is larger than the rank that any of the matrices can have."""
    largest = max(matrices.values(), key=lambda matrix: min(matrix.n, matrix.m))
    for name, size in sizes.items():
        if size > min(largest.n, largest.m):
            raise InputError(
                f"{name}={size} is more than a matrix can have: the largest that is adapted is {largest.n} × {largest.m}, so "
                f"that {min(largest.n, largest.m)} changes all of it",
                argument=name,
            )


def check(deltas: Deltas, matrices: Mapping[str, Matrix]) -> None:
    """Raises one ValueError that lists every unknown path and every wrong shape in ``deltas``."""
    problems = []
    for path, delta in deltas.items():
        if path not in matrices:
            problems.append(f"{path}: the model has no adaptable matrix of this name")
            continue
        matrix = matrices[path]
        if isinstance(delta, WeightDecomposed):
            if delta.magnitude.shape != (*matrix.stack, matrix.n):
                problems.append(f"{path}: needs a magnitude {(*matrix.stack, matrix.n)}, got {delta.magnitude.shape}")
            delta = delta.direction
        shapes = ((*matrix.stack, matrix.n, delta.rank), (*matrix.stack, matrix.m, delta.rank))
        if (delta.A.shape, delta.B.shape) != shapes:
            problems.append(
                f"{path}: needs A {shapes[0]} and B {shapes[1]}, got A {delta.A.shape} and B {delta.B.shape}"
            )
    if problems:
        raise InputError("deltas do not fit the model:\n  " + "\n  ".join(problems))
