"""What varies between the scenes of a data set, and between data sets, told from the specifications alone.

``varying_fields`` is for sceptics: it knows nothing of how scenes are made, it only compares numbers. ``check_control``
says whether they keep to the attribute (Section 4.1 of the paper).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from experiments.scenes.schema import Object, Scene
from experiments.scenes.streams import PARTS, VARIED

Datasets = Sequence[Sequence[Scene]]

# How much a texture data set's geometry may vary in the object-centric setting (supplement 3: "only slight").
SLIGHT_LOCATION = 0.25
"""Largest shift of an object between two scenes, metres, in a cluster of about 2 m."""
SLIGHT_SIZE = 1.35
"""Largest ratio of an object's extents in two scenes."""
_SLIGHT_FIELDS = ("location", "rotation", "size", "shape.bevel", "shape.radius", "shape.thickness", "shape.points[]")


@dataclass(frozen=True)
class Field:
    path: str
    """For instance ``objects[].size``; ``objects[]`` stands for how many there are."""
    within: bool
    """It differs between two scenes of one data set."""
    between: bool
    """It differs between two data sets: some scene of one has values that no scene of the other has."""


def varying_fields(datasets: Datasets) -> list[Field]:
    """Every field of the scenes' four parts and render settings, in order of their paths.

    Args:
        datasets: for each data set its scenes; provenance and version are left out.
    """
    values = [[_fields(scene) for scene in scenes] for scenes in datasets]
    paths = sorted({path for scenes in values for scene in scenes for path in scene})
    fields = []
    for path in paths:
        kinds = [{scene.get(path) for scene in scenes} for scenes in values]
        fields.append(Field(path, any(len(kind) > 1 for kind in kinds), any(a != b for a, b in combinations(kinds, 2))))
    return fields


def check_control(datasets: Datasets) -> None:
    """That within each data set nothing but the attribute varies, that it does, and that data sets differ in the rest.

    Attribute and setting are those of the scenes' provenance. Texture data sets of the object-centric setting may move,
    turn and resize their objects slightly; camera data sets keep their focal length.

    Raises:
        ValueError: scenes of different attributes or settings; a field that varies and should not, or a part that should
            and does not, with its path, data set and scenes.
    """
    origin = datasets[0][0].provenance
    attribute, setting = origin.attribute, origin.setting
    origins = {(s.provenance.attribute, s.provenance.setting) for scenes in datasets for s in scenes}
    if len(origins) != 1:
        raise ValueError(f"scenes of one attribute and setting were expected, got {sorted(origins)}")
    slight = attribute == "texture" and setting == "object_centric"
    for index, scenes in enumerate(datasets):
        first, others = _fields(scenes[0]), [_fields(scene) for scene in scenes[1:]]
        for number, other in enumerate(others, start=1):
            where = f"data set {index}, scenes 0 and {number}"
            for path in sorted(first.keys() | other.keys()):
                allowed = _part(path) in VARIED[attribute] and not (attribute == "camera" and _fixed_camera(path))
                if first.get(path) != other.get(path) and not (allowed or (slight and _is_slight(path))):
                    raise ValueError(f"{where}: {path} varies, but the attribute is {attribute}")
            if slight:
                _check_slight(where, scenes[0].objects, scenes[number].objects)
        for part in VARIED[attribute]:
            if others and all(getattr(scene, part) == getattr(scenes[0], part) for scene in scenes[1:]):
                raise ValueError(f"data set {index}: {part} do not vary, but the attribute is {attribute}")
    for (a, first_set), (b, second_set) in combinations(enumerate(datasets), 2):
        for part in PARTS:
            if getattr(first_set[0], part) == getattr(second_set[0], part):
                raise ValueError(f"data sets {a} and {b}: {part} are the same in both")


def _check_slight(where: str, first: Sequence[Object], second: Sequence[Object]) -> None:
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        shift = float(np.linalg.norm(np.subtract(a.location, b.location)))
        if shift > SLIGHT_LOCATION:
            raise ValueError(
                f"{where}: objects[{index}].location varies by {shift:.3f} m, more than {SLIGHT_LOCATION} m"
            )
        ratio = (np.asarray(a.size) + 1e-3) / (np.asarray(b.size) + 1e-3)
        if max(ratio.max(), 1 / ratio.min()) > SLIGHT_SIZE:
            raise ValueError(f"{where}: objects[{index}].size varies by more than a factor of {SLIGHT_SIZE}")


def _part(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def _is_slight(path: str) -> bool:
    return path in [f"objects[].{field}" for field in _SLIGHT_FIELDS]


def _fixed_camera(path: str) -> bool:
    return not path.endswith("world_to_camera")


def _fields(scene: Scene) -> dict[str, tuple[Any, ...]]:
    """For each path its values in order; vectors are one value."""
    found: dict[str, list[Any]] = {}
    for part in (*PARTS, "render"):
        for path, value in _leaves(part, msgspec.to_builtins(getattr(scene, part))):
            found.setdefault(path, []).append(value)
    return {path: tuple(values) for path, values in found.items()}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    elif isinstance(value, list | tuple) and not all(isinstance(item, int | float) for item in value):
        yield f"{path}[]", len(value)
        for item in value:
            yield from _leaves(f"{path}[]", item)
    else:
        yield path, tuple(value) if isinstance(value, list) else value
