"""Short ways to write Blender's shader nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]

_LOADED_FROM = "loaded_from"
"""Custom property of an image."""


def link(tree: Any, value: Any, socket: Any) -> None:
    """Connect an output to an input, or set the input to a constant."""
    if isinstance(value, bpy.types.NodeSocket):
        tree.links.new(value, socket)
    else:
        socket.default_value = value


def node(tree: Any, kind: str, inputs: Mapping[Any, Any] | None = None, **properties: Any) -> Any:
    """A new shader node of a kind (``Math``), its properties set, its inputs connected or set.

    Inputs are named by their place or their identifier, which unlike their names is unique.
    """
    made = tree.nodes.new(f"ShaderNode{kind}")
    for name, value in properties.items():
        setattr(made, name, value)
    by_identifier = {socket.identifier: socket for socket in made.inputs}
    for key, value in (inputs or {}).items():
        link(tree, value, made.inputs[key] if isinstance(key, int) else by_identifier[key])
    return made


def math(tree: Any, operation: str, *values: Any) -> Any:
    """The result of a Math node."""
    return node(tree, "Math", dict(enumerate(values)), operation=operation).outputs[0]


def stretch(tree: Any, value: Any, low: float, high: float, smooth: bool = False) -> Any:
    """A value from [low, high], or the other way round, to [0, 1], clamped."""
    inputs = {"Value": value, "From Min": low, "From Max": high}
    return node(tree, "MapRange", inputs, interpolation_type="SMOOTHSTEP" if smooth else "LINEAR").outputs[0]


def ramp(tree: Any, value: Any, stops: Sequence[tuple[float, Sequence[float]]], interpolation: str = "LINEAR") -> Any:
    """The colour at a value in 0…1 between two or more stops (position, linear RGB)."""
    made = node(tree, "ValToRGB", {0: value})
    made.color_ramp.interpolation = interpolation
    elements = made.color_ramp.elements
    while len(elements) < len(stops):
        elements.new(1.0)
    for element, (position, color) in zip(elements, stops, strict=True):
        element.position, element.color = position, (*color, 1)
    return made.outputs["Color"]


def load_image(path: Path, colorspace: str) -> Any:
    """An image file, which a scene loads once for all its materials.

    Raises ValueError naming a file that is missing or no picture.
    """
    for image in bpy.data.images:
        if image.get(_LOADED_FROM) == str(path) and image.colorspace_settings.name == colorspace:
            return image
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise ValueError(f"cannot find the picture {path}") from None
    if 0 in image.size:
        raise ValueError(f"cannot read the picture {path}")
    image.colorspace_settings.name = colorspace
    image[_LOADED_FROM] = str(path)
    return image
