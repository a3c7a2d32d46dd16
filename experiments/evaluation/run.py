"""All scenes of a data set, measured: what :func:`experiments.evaluation.evaluate` runs, without its files."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from experiments.data.dataset import Dataset, StoredScene, Views
from experiments.evaluation.cloud import NEIGHBOURS
from experiments.evaluation.plausibility import Plausibility, plausibility
from experiments.evaluation.predictions import FromModel, Predictor, check_cameras, prediction_file, save_prediction
from experiments.evaluation.results import Results, SceneKey
from experiments.evaluation.scene import (
    Evaluated,
    Reconstruction,
    SceneMetrics,
    TooFewPixels,
    evaluate_depth,
    evaluate_scene,
)
from experiments.evaluation.settings import Mask
from experiments.process.hosts import gathered, shared_out
from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError


def evaluate_dataset(
    predict: Predictor,
    dataset: Dataset,
    views: Sequence[int],
    mask: Mask = "valid",
    *,
    held_out: int | None = None,
    name: str | None = None,
    exact: bool = False,
    keep: Path | None = None,
    doubt: bool = False,
    shared: bool = False,
    reporter: Reporter = SILENT,
) -> Results:
    """The metrics of every scene; scenes with too few pixels in the mask are listed as skipped.

    Of a data set without poses only depth is measured.

    Args:
        predict: :func:`~experiments.evaluation.predictions.from_model` or
            :func:`~experiments.evaluation.predictions.from_folder`.
        dataset: with known truth.
        views: of each scene, predicted together; see :func:`~experiments.evaluation.views.choose_views`.
        mask: pixels that count.
        held_out: only so many last scenes; all by default.
        name: of the data set in results; its folder's by default.
        exact: see :func:`~experiments.evaluation.scene.evaluate_scene`.
        keep: a folder to store the predictions in, in the form that ``from_folder`` takes; by default they are dropped.
        doubt: ask whether predictions mean what they should, see :mod:`experiments.evaluation.plausibility`.
        shared: each process of a job takes some of the scenes, and all return the results of all scenes.
        reporter: gets a bar of the scenes.

    Raises:
        InputError: a prediction that cannot be evaluated, naming the scene, or fewer scenes than ``held_out``.
        OSError: a file that cannot be read or written.
    """
    name = dataset.folder.name if name is None else name
    measured: dict[SceneKey, SceneMetrics] = {}
    skipped: dict[SceneKey, str] = {}
    plausible: dict[SceneKey, Plausibility] = {}
    has_poses = dataset.manifest.has_poses
    scenes = last_scenes(dataset, held_out)
    own = shared_out(scenes) if shared else scenes
    at_once = predict.at_once if isinstance(predict, FromModel) else 1
    with reporter.progress(len(own), "scene", name) as bar:
        for first in range(0, len(own), at_once):
            some = {(name, scene.folder.name): scene.load(views) for scene in own[first : first + at_once]}
            pixels = {key: np.count_nonzero(mask_of(loaded, mask)) for key, loaded in some.items()}
            enough = {key: loaded for key, loaded in some.items() if pixels[key] >= NEIGHBOURS}
            if isinstance(predict, FromModel) and at_once > 1:
                predict.ahead({key: loaded.images for key, loaded in enough.items()})
            for key, loaded in some.items():
                if key not in enough:
                    skipped[key] = f"{pixels[key]} pixels to evaluate"
                    bar.update()
                    continue
                try:
                    found = evaluate_views(
                        predict, key, loaded, views, mask, has_poses=has_poses, exact=exact, keep=keep
                    )
                except TooFewPixels as error:
                    skipped[key] = str(error)
                else:
                    measured[key] = found.metrics
                    if doubt:
                        plausible[key] = plausibility(found.predicted, found.truth, has_poses)
                bar.update()
    if shared:
        parts = [pickle.loads(part) for part in gathered(pickle.dumps((measured, skipped, plausible)))]
        order = [(name, scene.folder.name) for scene in scenes]
        measured, skipped, plausible = (
            {key: part[i][key] for key in order for part in parts if key in part[i]} for i in range(3)
        )
    return Results(measured, skipped, {name: views}, [] if has_poses else [name], plausible)


def evaluate_views(
    predict: Predictor,
    key: SceneKey,
    loaded: Views,
    views: Sequence[int],
    mask: Mask = "valid",
    *,
    has_poses: bool = True,
    exact: bool = False,
    keep: Path | None = None,
) -> Evaluated:
    """One scene of :func:`evaluate_dataset`, with what there is to see.

    Args:
        predict, mask, exact, keep: see there.
        key: names the scene.
        loaded: its views.
        views: their numbers.
        has_poses: whether it is known where the cameras stood.

    Raises:
        TooFewPixels: too little to measure.
        InputError: what is wrong with the prediction or the truth, naming scene and view.
        OSError: a file that cannot be read or written.
    """
    try:
        predicted = predict(key, views, loaded.images)
        if keep is not None:
            save_prediction(prediction_file(keep, *key), predicted, views)
        check_cameras(predicted, has_poses)
        truth = Reconstruction(loaded.depths, loaded.extrinsics, loaded.intrinsics)
        counted = mask_of(loaded, mask)
        if not has_poses:
            return evaluate_depth(predicted, truth, counted, views)
        return evaluate_scene(predicted, truth, counted, exact, views=views)
    except TooFewPixels:
        raise
    except InputError as error:
        raise InputError(f"{'/'.join(key)}: {error}") from None


def last_scenes(dataset: Dataset, count: int | None) -> list[StoredScene]:
    """The last ``count`` scenes of a data set, all by default.

    Raises InputError if there are fewer, or none.
    """
    if count is not None and count > len(dataset):
        raise InputError(
            f"{dataset.folder} has {len(dataset)} scenes, held_out={count} asks for more", argument="held_out"
        )
    scenes = dataset.scenes[-count:] if count else dataset.scenes
    if not scenes:
        raise InputError(f"{dataset.folder} has no scenes")
    return scenes


def mask_of(views: Views, mask: Mask) -> Bool[np.ndarray, "s h w"]:
    """The pixels that count."""
    return {"valid": views.valid, "glass": views.valid & views.glass, "task": views.mask}[mask]
