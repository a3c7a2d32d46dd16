"""Scenes that other people's programs and cameras recorded, converted to this project's format.

A layout is how they lie on disk: :mod:`~experiments.tasks.recordings.clearpose` as ClearPose's owners distribute it,
:mod:`~experiments.tasks.recordings.captures` your own pictures with depth.
"""

from typing import Literal

Layout = Literal["clearpose", "captures"]
"""How recordings lie on disk."""
