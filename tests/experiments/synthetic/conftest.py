"""Small data sets of every attribute and setting, made once."""

from __future__ import annotations

from functools import cache
from typing import get_args

import pytest

from experiments.scenes import schema
from experiments.synthetic.generator import make_scene

ATTRIBUTES = get_args(schema.Attribute)
SETTINGS = get_args(schema.Setting)


@cache
def draw(attribute="mixed", setting="object_centric", seed=0, dataset=0, scene=0, views=6, **others) -> schema.Scene:
    sizes = {"width": 112, "height": 112, "samples": 4} | others
    return make_scene(attribute, setting, seed=seed, dataset=dataset, scene=scene, views=views, **sizes)


@cache
def draw_datasets(attribute: str, setting: str) -> list[list[schema.Scene]]:
    return [[draw(attribute, setting, 11, dataset, scene) for scene in range(3)] for dataset in range(2)]


QUICK = ("object_centric", "mixed")
"""Each attribute about objects, and what varies everything in each setting."""


@pytest.fixture(
    params=[
        pytest.param((a, s), marks=() if {a, s} & set(QUICK) else pytest.mark.slow)
        for a in ATTRIBUTES
        for s in SETTINGS
    ],
    ids="-".join,
)
def datasets(request) -> list[list[schema.Scene]]:
    """Two data sets of three scenes."""
    return draw_datasets(*request.param)
