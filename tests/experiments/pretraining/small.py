"""Scenes and a recipe for runs that end in seconds."""

from dataclasses import replace

import numpy as np

from experiments.pretraining.objective import PretrainingObjective
from experiments.pretraining.recipe import Recipe, Stage
from experiments.pretraining.scenes import LoadedScene, Source
from experiments.training.losses import CameraLoss, Objective, RegressionLoss
from tests.experiments import analytic_scene
from tests.experiments.training.tiny import CONFIG

SIZE = 16


def box_scene(number, views=6, size=SIZE):
    """The analytic box from ``views`` cameras on an arc; the radius and the brightness depend on ``number``."""
    cameras = analytic_scene.ring([(size, size)] * views, radius=3 + 0.2 * number)
    rendered = [analytic_scene.render(*camera) for camera in cameras]
    depths = np.stack([depth for _, depth, _ in rendered])
    valid = depths < analytic_scene.SKY_DEPTH
    images = np.stack([image for image, _, _ in rendered]) * (1 - 0.05 * (number % 7))
    return LoadedScene(
        f"box {number}",
        images.astype(np.uint8),
        np.where(valid, depths, 0).astype(np.float32),
        valid,
        np.stack([camera.intrinsics for camera in cameras]).astype(np.float32),
        np.stack([camera.extrinsics for camera in cameras]).astype(np.float32),
    )


def source(scenes=4, name="boxes"):
    return Source(name, [box_scene(i) for i in range(scenes)], "0" * 64, "exact ray casting")


def recipe(steps=2):
    matching = PretrainingObjective(Objective(CameraLoss(), depth=None))
    jointly = PretrainingObjective(Objective(CameraLoss(), RegressionLoss()))
    stage = Stage("matching", steps, matching, ("aggregator", "camera_head"), images=4, turns=(20, 60))
    return Recipe(CONFIG, (stage, replace(stage, name="jointly", objective=jointly, parts=Stage.parts)), held_out=0.25)
