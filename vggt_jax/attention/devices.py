"""Attention on the devices of a mesh: kernels are programs of one device, so somebody has to hand each its part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

HEADS_AXIS = "model"
"""The axis of a mesh that splits heads, as it splits the matrices that make them; all others split the batch."""


def on_every_device(
    function: Callable[..., Sequence[Array]], *arrays: Float[Array, "b heads _ _"]
) -> tuple[Float[Array, "b heads _ _"], ...]:
    """What ``function`` makes of ``arrays``, each device working on its part of the batch and of the heads.

    The mesh is that of the context: the one around a ``shard_map``, or ``jax.set_mesh``. Of its axes, those that XLA
    would split arrays over are taken over here; those that are manual already, as all are inside a ``shard_map`` over the
    whole mesh, are left alone. Axes that do not divide their dimension are not used, and every device does all of it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    free = [name for name in mesh.axis_names if name not in mesh.manual_axes and mesh.shape[name] > 1]
    if not free:
        return tuple(function(*arrays))
    b, heads = arrays[0].shape[:2]
    of_batch: list[str] = []
    for name in free:
        if name != HEADS_AXIS and b % prod(mesh.shape[axis] for axis in (*of_batch, name)) == 0:
            of_batch.append(name)
    of_heads = HEADS_AXIS if HEADS_AXIS in free and heads % mesh.shape[HEADS_AXIS] == 0 else None
    part = PartitionSpec(tuple(of_batch) or None, of_heads)
    split = jax.shard_map(
        lambda *arrays: tuple(function(*arrays)),
        in_specs=part,
        out_specs=part,
        axis_names=set(mesh.axis_names) - set(mesh.manual_axes),
        check_vma=False,
    )
    return split(*arrays)
