"""How the work of a training step is laid out in memory, over devices and in time; results do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.process.mesh_sizes import MeshSizes
from subspace.errors import InputError


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """A step of one or more adapters on the devices that are there. Results of different plans differ by rounding at most.

    How many pictures a step has is no part of it, as results depend on that (:class:`experiments.presets.Training`). None
    leaves a choice to the program.

    Raises InputError for a number below 1.
    """

    adapters_at_once: int | None = None
    """Adapters that one device trains at a time; the others wait, and each group is a run of its own. By default all on a
    CPU, side by side, and on an accelerator as many as together have no more pixels in a step than 32 pictures of 518²."""
    accumulate: int | None = None
    """Sequences that one device takes through the model at a time, where the memory does not hold all of a step: one more
    forward pass, the same losses and gradients. By default all."""
    mesh: MeshSizes | None = None
    """Devices by what they take. By default as many along ``adapter`` as the adapters allow, then along ``data``."""
    remat: bool | None = None
    """Recompute the blocks in the backward pass, which saves memory; by default what the preset says."""
    keep_attention: bool | None = None
    """With ``remat``, keep what fused attention gives, which spares running it again; by default what the model says."""
    frames_chunk: int | None = None
    """Frames that a dense head takes at a time; by default what the model's configuration says."""

    def __post_init__(self) -> None:
        for name in ("adapters_at_once", "accumulate", "frames_chunk"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1, got {number}", argument=name)

    @property
    def of_model(self) -> dict[str, Any]:
        """What of it is chosen when a model is made, by the names of :class:`vggt_jax.VGGTConfig`; without what is open.

        ``remat``, which presets choose as well, is not among it.
        """
        names = ("frames_chunk", "keep_attention")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
