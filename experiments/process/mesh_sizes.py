"""How many devices work together, and what each of them takes: ``adapter:2,data:4,model:1``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from subspace.errors import InputError


@dataclass(frozen=True)
class MeshSizes:
    """Devices along the three axes of a mesh; their product is the number of devices of the job.

    Raises InputError for a size below 1.
    """

    adapter: int = 1
    """Devices that the adapters of a group are spread over."""
    data: int = 1
    """Devices that the sequences of a batch are spread over."""
    model: int = 1
    """Devices that the base model's large matrices are split over."""

    def __post_init__(self) -> None:
        for axis in fields(self):
            if getattr(self, axis.name) < 1:
                raise InputError(
                    f"mesh: {axis.name} must be at least 1, got {getattr(self, axis.name)}", argument="mesh"
                )

    @classmethod
    def of(cls, text: str) -> Self:
        """``adapter:2,data:4``: axes that are not named have size 1.

        Raises InputError for an axis that does not exist or is named twice, and for a size that is no whole number.
        """
        axes = [axis.name for axis in fields(cls)]
        sizes: dict[str, int] = {}
        for part in text.split(","):
            axis, colon, size = (each.strip() for each in part.partition(":"))
            if axis not in axes:
                raise InputError(f"mesh: there is no axis {axis!r}; axes are {', '.join(axes)}", argument="mesh")
            if axis in sizes:
                raise InputError(f"mesh: {axis} is there twice in {text!r}", argument="mesh")
            if not colon or not (size.isascii() and size.isdigit()):
                raise InputError(
                    f"mesh: {axis} needs a number of devices, such as {axis}:2, got {part.strip()!r}", argument="mesh"
                )
            sizes[axis] = int(size)
        return cls(**sizes)

    @property
    def devices(self) -> int:
        """Number of devices in all."""
        return self.adapter * self.data * self.model

    def __str__(self) -> str:
        return f"adapter:{self.adapter},data:{self.data},model:{self.model}"


def check_one_adapter(mesh: MeshSizes | None) -> None:
    """Raises InputError for a mesh that shares several adapters, where there are none."""
    if mesh is not None and mesh.adapter > 1:
        raise InputError(
            f"mesh: adapter:{mesh.adapter} has nothing to do here, where nothing is trained", argument="mesh"
        )
