"""Seconds that a program takes on a chip: each kernel by its products or by its traffic, whichever takes longer.

Kernels reach a share of what a data sheet promises. The shares here are supposed: in keeping with one forward pass that
was timed on an H200 (291 TFLOP/s), and with what FlashAttention's and cuDNN's makers report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from experiments.accelerators.chips import Chip
from experiments.accelerators.kernels import KINDS, Kernel, Kind

SHARES: Mapping[Kind, float] = {
    "products": 0.61, "attention": 0.43, "attention's gradient": 0.38, "convolutions": 0.4, "the rest": 0.61,
}  # fmt: skip
"""Of a chip's products in a second."""
TRAFFIC = 0.85
"""Share of a memory's bandwidth."""
LAUNCH = 1.3e-6
"""Seconds between two kernels."""


@dataclass(frozen=True)
class Roofline:
    """What one step takes by counted work."""

    operations: Mapping[Kind, float]
    """Multiplications and additions."""
    repeated: float
    """Of all operations, those of the forward pass that the backward pass does again."""
    bytes: float
    """Read and written."""
    launches: float
    """Kernels started."""
    seconds: float
    """Of all kernels, one after the other."""

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.operations.values())


def roofline(kernels: Iterable[Kernel], chip: Chip) -> Roofline:
    """Of the kernels of one device."""
    operations = dict.fromkeys(KINDS, 0.0)
    repeated = moved = launches = seconds = 0.0
    for each in kernels:
        operations[each.kind] += each.times * each.operations
        repeated += each.times * each.operations * (each.place.direction == "again")
        moved += each.times * each.bytes
        launches += each.times
        compute = each.operations / (getattr(chip, each.arithmetic) * SHARES[each.kind])
        seconds += each.times * (max(compute, each.bytes / (chip.bandwidth * TRAFFIC)) + LAUNCH)
    return Roofline(operations, repeated, moved, launches, seconds)


def with_views(kernels: Iterable[Kernel], tokens: int, before: int, views: int) -> list[Kernel]:
    """The kernels of as many pictures in sequences of ``views`` of them, from those in sequences of ``before``.

    Only attention over whole sequences changes: each of its tokens then looks at more or fewer others.

    Args:
        kernels: of the program for sequences of ``before`` pictures, at least two.
        tokens: of one picture.
        before: pictures of a sequence.
        views: pictures of a sequence that are asked for.
    """
    ratio = views / before
    return [
        replace(each, operations=each.operations * ratio, keys=round(each.keys * ratio))
        if each.keys > 1.5 * tokens  # kernels may pad what they look at
        else each
        for each in kernels
    ]
