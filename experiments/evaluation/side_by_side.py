"""Several methods on the same scenes, a picture for each: what was shown, the truth, and what each method made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from experiments.data.dataset import Dataset, StoredScene
from experiments.evaluation.pictures import Viewpoint, shown_views
from experiments.evaluation.predictions import from_folder, prediction_file
from experiments.evaluation.run import evaluate_views, last_scenes
from experiments.evaluation.scene import FEWEST, Evaluated, align_depth
from experiments.evaluation.settings import Mask
from experiments.evaluation.views import choose_views
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import convert_fields
from experiments.storage.files import listed
from subspace.errors import InputError
from vggt_jax.atomic import new_path
from vggt_jax.missing import no_folder

_COLUMN = 2.2
"""Width of a column in inches."""
_SCENES = 3
"""Scenes that are drawn where none are named."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Results that are to be seen beside each other.

    Raises InputError for nothing to draw.
    """

    data: Path
    """Folder of the data set that all of them are of."""
    results: Mapping[str, Path]
    """What a method is called → a folder of :func:`experiments.evaluation.evaluate` with its predictions, or a folder of
    predictions."""
    scenes: tuple[str, ...] = ()
    """Folders of the scenes; by default the first few of which all results have predictions."""
    views: str | None = None
    """Views that were predicted together, as in the evaluations."""
    held_out: int | None = None
    """Number of the last scenes among which the first are drawn; None for all."""
    mask: Mask = "valid"
    """Pixels that count."""
    output: Path
    """Folder that gets ``SCENE.png``."""
    overwrite: bool = False
    """Whether pictures that are there are replaced."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.results:
            raise InputError("results: name at least one", argument="results")


def draw_side_by_side(settings: Settings, reporter: Reporter = SILENT) -> list[Path]:
    """One picture for each scene.

    Raises:
        InputError: results that are missing or without predictions of a scene, scenes that the data set lacks, files of the
            pictures' names that may not be replaced, or what an evaluation refuses.
        OSError: a file that cannot be read or written.
    """
    dataset = Dataset(settings.data)
    views = choose_views(settings.views, dataset.manifest.settings.views, dataset.manifest.task)
    every = {scene.folder.name: scene for scene in last_scenes(dataset, settings.held_out)}
    if unknown := [name for name in settings.scenes if name not in every]:
        raise InputError(f"{settings.data} has no scene {unknown[0]} among those that are evaluated", argument="scenes")
    folders = {name: _predictions(folder) for name, folder in settings.results.items()}
    scenes = _scenes(settings.scenes, dataset.folder.name, list(every), folders)
    pictures = {name: settings.output / f"{name}.png" for name in scenes}
    if not settings.overwrite and (there := [path for path in pictures.values() if os.path.lexists(path)]):
        raise InputError(f"{there[0]} is there already; name another folder, or overwrite it", argument="overwrite")
    for name, picture in pictures.items():
        reporter.info(f"drawing {name}")
        figure = _draw(settings, dataset, every[name], views, folders)
        with new_path(picture) as new:
            figure.savefig(new, dpi=130, format="png")
    return list(pictures.values())


def _predictions(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(no_folder(folder), argument="results")
    return folder / "predictions" if (folder / "predictions").is_dir() else folder


def _scenes(named: Sequence[str], dataset: str, every: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """The scenes to draw: those that are named, or else the first of which all results have predictions.

    Raises InputError for one of which a result has none, and where there is nothing to draw.
    """
    predicted = {
        folder: [scene for scene in every if prediction_file(folder, dataset, scene).is_file()]
        for folder in folders.values()
    }
    for folder, scenes in predicted.items():
        if not scenes:
            raise InputError(
                f"{folder} has no prediction of a scene of {dataset}: evaluate with save_predictions",
                argument="results",
            )
        if missing := [scene for scene in named if scene not in scenes]:
            raise InputError(
                f"{folder} has no prediction of {dataset}/{missing[0]}; it has those of {listed(scenes)}",
                argument="scenes",
            )
    common = [scene for scene in every if all(scene in scenes for scenes in predicted.values())]
    if not common:
        raise InputError(f"there is no scene of {dataset} of which all results have a prediction", argument="results")
    return list(named) or common[:_SCENES]


def _draw(
    settings: Settings, dataset: Dataset, scene: StoredScene, views: Sequence[int], folders: Mapping[str, Path]
) -> Figure:
    key = (dataset.folder.name, scene.folder.name)
    loaded = scene.load(views)
    found = {
        name: evaluate_views(
            from_folder(folder), key, loaded, views, settings.mask, has_poses=dataset.manifest.has_poses
        )
        for name, folder in folders.items()
    }
    return side_by_side(found, loaded.images, loaded.extrinsics)


def side_by_side(
    found: Mapping[str, Evaluated], images: UInt8[np.ndarray, "s h w 3"], extrinsics: Float[np.ndarray, "s 3 4"]
) -> Figure:
    """Views above; below, a column for the truth and for each method: clouds from one place, aligned to the truth; depth of the
    first view that all can be measured in, after its alignment; that view, and the relative error.

    Clouds are missing where it is not known where the cameras stood.

    Args:
        found: method → what was made of one scene, the same views of it.
        images: of the views, sRGB.
        extrinsics: of the true cameras.
    """
    first = next(iter(found.values()))
    view = _common_view(found)
    seen = np.logical_or.reduce([each.mask for each in found.values()])
    clouds = first.alignment is not None
    shown = shown_views(len(images), most=len(found) + 1)
    figure = Figure(figsize=(_COLUMN * (len(found) + 1), _COLUMN * (3 + clouds)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 2 + clouds])[:, 0]
    for number, axes in enumerate(upper.subplots(1, len(found) + 1, squeeze=False)[0]):
        axes.set_axis_off()
        if number < len(shown):
            axes.imshow(images[shown[number]])
    upper.suptitle("views", fontsize=9)
    grid = lower.subplots(2 + clouds, len(found) + 1, squeeze=False)
    if clouds:
        place = Viewpoint.of(first.truth.points[seen], extrinsics[0])
        everything = {
            "truth": (first.truth.points, seen),
            **{name: (own.aligned, own.mask) for name, own in found.items()},
        }
        for axes, (points, mask) in zip(grid[0], everything.values(), strict=True):
            axes.imshow(place.picture(points[mask], images[mask]), origin="lower", interpolation="nearest")
    true = np.where(seen[view], first.truth.depths[view], np.nan)
    depths = [true, *(_depth(own, view) for own in found.values())]
    errors = [np.abs(depth / true - 1) for depth in depths]
    range_ = Normalize(*np.nanpercentile(true, (1, 99)))
    scale = Normalize(0, float(np.nanpercentile(errors[1:], 95)) or 1.0)
    for row, values, norm, colours, label in (
        (grid[-2], depths, range_, "viridis", "depth"),
        (grid[-1], [images[view], *errors[1:]], scale, "inferno", "relative error"),
    ):
        for axes, value in zip(row, values, strict=True):
            axes.imshow(value, cmap=colours, norm=norm)
        bar = lower.colorbar(ScalarMappable(norm, colours), ax=list(row), extend="max", fraction=0.02)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    for axes, title in zip(grid[0], ["truth", *(_title(name, own) for name, own in found.items())], strict=True):
        axes.set_title(title, fontsize=9)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
    return figure


def _common_view(found: Mapping[str, Evaluated]) -> int:
    """The first view in which all methods have enough pixels to be aligned."""
    enough = np.all([np.count_nonzero(own.mask, axis=(1, 2)) >= FEWEST for own in found.values()], axis=0)
    if not enough.any():
        raise InputError(f"no view shows {FEWEST} pixels of which all results have a prediction", argument="results")
    return int(enough.argmax())


def _depth(own: Evaluated, view: int) -> Float[np.ndarray, "h w"]:
    """After the alignment of the view; NaN where nothing counts."""
    fit = align_depth(own.predicted, own.truth, own.mask, view)[0]
    return np.where(own.mask[view], fit.scale * own.predicted.depths[view] + fit.shift[2], np.nan)


def _title(name: str, own: Evaluated) -> str:
    points = own.metrics.points
    if own.alignment is None:
        return f"{name}\nAbsRel {own.metrics.abs_rel:.3f}"
    return f"{name}\nCD {(points.accuracy + points.completeness) / 2:.4f}"
