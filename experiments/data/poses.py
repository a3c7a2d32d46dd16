"""One camera seen from another, and how far such a pose is off: of NumPy's arrays, and of JAX's inside compiled programs."""

from __future__ import annotations

from jaxtyping import Float

from subspace.namespace import AnyArray, matmul, namespace

_STILL = 1e-15
"""Translations whose lengths' product is not larger have no directions; they are off by 90°."""


def relative_pose(
    first: Float[AnyArray, "*pairs 3 4"], second: Float[AnyArray, "*pairs 3 4"]
) -> Float[AnyArray, "*pairs 3 4"]:
    """[R | t] from the first camera's coordinates to the second's: its extrinsics where the first camera is the world."""
    rotation = matmul(second[..., :3], first[..., :3].mT)
    translation = second[..., 3:] - matmul(rotation, first[..., 3:])
    return namespace(first, second).concatenate([rotation, translation], axis=-1)


def rotation_error(
    found: Float[AnyArray, "*pairs 3 3"], true: Float[AnyArray, "*pairs 3 3"]
) -> Float[AnyArray, "*pairs"]:
    """Degrees between two rotations, exact for small ones too."""
    xp = namespace(found, true)
    turn = matmul(found.mT, true)
    twice_sine = xp.linalg.norm(
        xp.stack([turn[..., i, j] - turn[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=-1), axis=-1
    )
    twice_cosine = turn[..., 0, 0] + turn[..., 1, 1] + turn[..., 2, 2] - 1
    return xp.degrees(xp.arctan2(twice_sine, twice_cosine))


def direction_error(
    found: Float[AnyArray, "*pairs 3"], true: Float[AnyArray, "*pairs 3"], *, either_way: bool = False
) -> Float[AnyArray, "*pairs"]:
    """Degrees between the directions of two translations.

    Args:
        found, true: of any lengths.
        either_way: t and −t count as the same, as in VGGT's evaluation.
    """
    xp = namespace(found, true)
    along = (found * true).sum(axis=-1)
    angle = xp.degrees(
        xp.arctan2(xp.linalg.norm(xp.cross(found, true), axis=-1), xp.abs(along) if either_way else along)
    )
    lengths = xp.linalg.norm(found, axis=-1) * xp.linalg.norm(true, axis=-1)
    return xp.where(lengths > _STILL, angle, 90.0)
