"""Which part of the training step an operation belongs to, and in which pass, by the scopes that JAX names it by."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Pass = Literal["forward", "again", "backward"]
PASSES: tuple[Pass, ...] = ("forward", "again", "backward")
"""The second is forward work that the backward pass repeats."""
PARTS = ("attn", "mlp", "camera_head", "depth_head", "loss", "optimizer")
"""Named scopes of the model and the step, of which the outermost counts; attn and mlp are then the aggregator's."""


class Place(NamedTuple):
    """A part of the step, in one pass."""

    part: str
    direction: Pass


def place_of(scope: str) -> Place:
    """From the scopes that JAX names an operation by, such as ``jit(step)/transpose(jvp(aggregator))/while/body/mlp/add``."""
    found = re.findall(rf"\b({'|'.join(PARTS)})\b", scope)
    again, backward = "rematted_computation" in scope, "transpose(" in scope
    return Place(found[0] if found else "other", "again" if again else "backward" if backward else "forward")
