"""How long pictures take to render."""

from __future__ import annotations

import numpy as np

from experiments.scenes.schema import Setting

_SIDES = (112, 224, 518)
_PICTURES_PER_SECOND: dict[Setting, tuple[float, float, float]] = {
    "object_centric": (9.71, 2.68, 0.52),
    "micro_baseline": (3.74, 1.13, 0.21),
    "wide_baseline": (3.74, 1.13, 0.21),
}
"""That one core renders at these sizes, 4 paths per pixel: ``python -m experiments.benchmark rendering``."""


def seconds_per_picture(setting: Setting, resolution: int) -> float:
    """Seconds of one core, with 4 light paths per pixel.

    Args:
        setting: what is rendered.
        resolution: width and height of the pictures in pixels; outside 112 to 518 those of the nearest.
    """
    return float(np.interp(resolution, _SIDES, 1 / np.array(_PICTURES_PER_SECOND[setting])))
