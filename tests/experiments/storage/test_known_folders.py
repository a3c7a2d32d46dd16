"""The folders of three known pieces of work: what users have made is found again by later versions.

Whoever has to change one of these names makes everybody's work be done again: the changelog must say so.
"""

from pathlib import Path
from typing import Any, cast

import pytest

from experiments.data.dataset import StoredScene
from experiments.extraction.adapters import AdapterRun
from experiments.extraction.data import Data
from experiments.extraction.recipe import Recipe
from experiments.extraction.results import identity_of_trained
from experiments.extraction.settings import Settings as ExtractionSettings
from experiments.finetuning.data import TuningData
from experiments.finetuning.methods.lora import LoRA
from experiments.finetuning.settings import Settings as FineTuningSettings
from experiments.finetuning.settings import depends_on
from experiments.models import Base
from experiments.rendering import Settings as RenderingSettings
from experiments.storage.results import results_folder
from vggt_jax import VGGTConfig
from vggt_jax.adapters import BaseModel

STORE = Path("runs")
NOTHING = cast(Any, None)
BASE = Base(BaseModel("nano", "0123456789abcdef", VGGTConfig.nano()), NOTHING, NOTHING, "0123456789ab")
"""A model whose parameters nobody asks for."""


def adapters() -> Path:
    settings = ExtractionSettings.of("nano", attribute="texture", k=2, seed=3)
    rendered = RenderingSettings.of("nano", attribute="texture", setting="object_centric", datasets=2, seed=3)
    scenes = {number: [StoredScene(Path(f"dataset_{number:02d}/scene_0000"), 8)] for number in range(2)}
    data = Data(Path("data"), rendered.stored, scenes, scenes, {0: "a" * 64, 1: "b" * 64})
    return AdapterRun(BASE, data, Recipe.of(settings)).folder(STORE)


def results_of_extract() -> Path:
    settings = ExtractionSettings.of("nano", dim=4)
    identity = identity_of_trained(settings, BASE.weights)
    return results_folder(STORE, "extract", settings.label, identity)


def results_of_finetune() -> Path:
    settings = FineTuningSettings.of("nano", LoRA(rank=4, matrices=("*",)), data=[Path("glass")], steps=50)
    data = TuningData([], [], [], 96, {"glass": "c" * 64})
    return results_folder(STORE, "finetune", settings.method.name, depends_on(settings, BASE, data))


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (adapters, "adapters/texture_object_centric-ea776031daee"),
        (results_of_extract, "extract/geometry_object_centric_nano-706218008b7b"),
        (results_of_finetune, "finetune/lora-e91feef58a01"),
    ],
)
def test_known_work_has_its_folder(found, name):
    assert found() == STORE / name
