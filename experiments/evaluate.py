"""How good are depth and point clouds of a model, with an adapter or without, on data sets with known truth?

``python -m experiments.evaluate --weights=nano --adapter=adapter.safetensors --data=geometry/dataset_00 --output=result``
runs the model on the scenes of data sets and writes

- ``scenes.csv``: accuracy, completeness, normal consistency (means and medians), AbsRel and δ < 1.25 of every scene;
- ``summary.json``: their means, settings and views, and the scenes that were left out;
- ``report.html``, ``pictures/``: predicted against true clouds and error maps of the best, median and worst scene.

``--predictions=FOLDER`` evaluates stored depth maps and cameras in place of a model. Of recorded data sets without poses,
only depth is evaluated. ``--compare=first,second`` tells two results apart by a paired bootstrap over their scenes. A scene
of 8 × 518² points takes seconds, beside the model.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from experiments.process.compilation_cache import keep_compiled
from subspace.errors import InputError
from weights_convert.command_line import run

if TYPE_CHECKING:
    from experiments.data.dataset import Dataset
    from experiments.evaluation.predictions import Predictor
    from experiments.evaluation.run import Mask

MASKS = ("valid", "glass", "task")


def evaluate(
    data: Sequence[Path],
    output: Path,
    weights: str = "nano",
    adapter: Path | None = None,
    predictions: Path | None = None,
    views: str | None = None,
    held_out: int | None = None,
    mask: Mask = "valid",
    exact: bool = False,
    save_predictions: bool = False,
    overwrite: bool = False,
) -> str:
    """Run the command.

    Args:
        data: folders of finished data sets.
        output: the folder to make.
        weights: what :func:`weights_convert.load_vggt` takes.
        adapter: see :class:`experiments.evaluation.predictions.Model`.
        predictions: a folder of stored predictions, in place of a model.
        views: see :func:`experiments.evaluation.views.choose_views`.
        held_out: only so many of each data set's last scenes.
        mask: ``"valid"``, all pixels with a surface, ``"glass"``, those with a transparent one, or ``"task"``, those of the
            masks that are stored with the scenes (all pixels of a view without one).
        exact: see :func:`experiments.evaluation.scene.evaluate_scene`.
        save_predictions: keep what the model predicted, in the form that ``predictions`` takes.
        overwrite: replace an earlier result.

    Returns:
        The means, and one line that says what was written.

    Raises:
        ValueError: unusable data, weights, adapter, predictions or settings, or nothing that can be evaluated.
        OSError: a file that cannot be read or written.
    """
    from experiments.data.dataset import Dataset, StoredScene
    from experiments.evaluation.cloud import NEIGHBOURS
    from experiments.evaluation.run import evaluate_dataset, evaluate_views, last_scenes
    from experiments.evaluation.views import choose_views
    from experiments.storage.output_folder import new_folder

    start = time.perf_counter()
    if predictions is not None and adapter is not None:
        raise InputError("--predictions are of a finished model; --adapter does not go with them")
    if adapter is not None and not adapter.exists():
        raise InputError(f"--adapter={adapter}: there is no such file or folder")
    datasets = [Dataset(folder) for folder in data]
    names = [dataset.folder.name for dataset in datasets]
    if len(set(names)) != len(names):
        names = [dataset.folder.as_posix().strip("/").replace("/", "_") for dataset in datasets]
    chosen = [choose_views(views, d.manifest.settings.views, d.manifest.task) for d in datasets]
    total = sum(len(last_scenes(dataset, held_out)) for dataset in datasets)

    with new_folder(output, overwrite, _outputs()) as folder:
        from tqdm import tqdm

        from experiments.evaluation.pictures import draw
        from experiments.evaluation.report import extremes, table, write_results
        from experiments.evaluation.results import joined

        predict = _predictor(weights, adapter, predictions, datasets)
        keep = folder / "predictions" if save_predictions else None
        parts = []
        with tqdm(total=total, desc="scenes", unit="scene", disable=None) as bar:
            for name, dataset, indices in zip(names, datasets, chosen, strict=True):
                parts.append(
                    evaluate_dataset(
                        predict, dataset, indices, mask,
                        held_out=held_out, name=name, exact=exact, keep=keep, advance=bar.update,
                    )
                )  # fmt: skip
        settings = {
            "model": str(predictions) if predictions is not None else weights,
            "adapter": "none" if adapter is None else adapter.name,
            "mask": mask,
            "exact": exact,
            "held_out": held_out,
            "seconds": round(time.perf_counter() - start, 1),
        }
        results = joined(parts, settings)
        if not results.scenes:
            raise InputError(f"no scene has {NEIGHBOURS} pixels to evaluate, see --mask={mask}")
        drawings = {}
        for key in extremes(results.scenes):  # once more: the clouds of all scenes would fill the memory
            place = names.index(key[0])
            dataset, indices = datasets[place], chosen[place]
            loaded = StoredScene(dataset.folder / key[1], dataset.manifest.settings.views).load(indices)
            has_poses = dataset.manifest.has_poses
            evaluated = evaluate_views(predict, key, loaded, indices, mask, has_poses=has_poses, exact=exact)
            drawings[key] = draw(evaluated, loaded.images, loaded.extrinsics)
        write_results(folder, "How good is the reconstruction?", results, drawings)
    left_out = f", {len(results.skipped)} left out" if results.skipped else ""
    return (
        f"{table(results)}\nwrote {output}: {len(results.scenes)} scene(s){left_out}, {time.perf_counter() - start:.1f} s; "
        f"open {output}/report.html"
    )


def compare(first: Path, second: Path) -> str:
    """The table of :func:`experiments.evaluation.bootstrap.compare_results` of two results.

    Raises:
        ValueError: a file that is no result, or results of different scenes.
        OSError: a file that cannot be read.
    """
    from experiments.evaluation.bootstrap import compare_results, table
    from experiments.evaluation.results import read_csv

    results, others = read_csv(first), read_csv(second)
    return f"{len(results)} scenes; first: {first}, second: {second}\n{table(compare_results(results, others))}"


def _predictor(weights: str, adapter: Path | None, predictions: Path | None, datasets: Sequence[Dataset]) -> Predictor:
    from experiments.evaluation.predictions import Model, from_folder, from_model

    if predictions is not None:
        return from_folder(predictions)
    _say(f"loading weights from {weights}")
    model = Model(weights, adapter)
    for dataset in datasets:
        model.check(dataset.manifest.settings.resolution)
    return from_model(model)


def _outputs() -> frozenset[str]:
    from experiments.evaluation.report import OUTPUTS

    return OUTPUTS


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.compare:
        if len(given.compare) != 2:
            raise InputError(f"--compare takes two results with a comma between them, got {len(given.compare)}")
        print(compare(*map(Path, given.compare)))
        return
    for name in ("data", "output"):
        if not given[name].value:
            raise InputError(f"--{name} is missing, see --help")
    keep_compiled()
    line = evaluate(
        [Path(os.path.abspath(folder)) for folder in given.data],
        Path(os.path.abspath(given.output)),
        given.weights,
        adapter=None if given.adapter is None else Path(given.adapter),
        predictions=None if given.predictions is None else Path(given.predictions),
        views=given.views,
        held_out=given.held_out,
        mask=given.mask,
        exact=given.exact,
        save_predictions=given.save_predictions,
        overwrite=given.overwrite,
    )
    print(line)


if __name__ == "__main__":
    flags.DEFINE_list("data", [], "folders of data sets of experiments.generate, with commas")
    flags.DEFINE_string("output", None, "folder to make; nothing is left there if anything fails")
    flags.DEFINE_string("weights", "nano", "a VGGT: a file, a folder, hf:OWNER/NAME of the Hugging Face hub, or nano")
    flags.DEFINE_string(
        "adapter", None, "an adapter of that model: this project's file or a PEFT folder; by default none"
    )
    flags.DEFINE_string(
        "predictions",
        None,
        "in place of a model: a folder with DATASET/SCENE.npz, each with depths (s, h, w), extrinsics (s, 3, 4; world to "
        "camera), intrinsics (s, 3, 3; pixels) and views (s), as --save_predictions writes them",
    )
    flags.DEFINE_string(
        "views",
        None,
        "views of each scene to evaluate, together: nano, eight, frames, video, captures, circle, vggt_1b (committed lists), "
        "or numbers with commas; by default the list made for scenes with so many views, video for those with 42",
    )
    flags.DEFINE_integer(
        "held_out",
        None,
        "only so many of each data set's last scenes, which experiments.extract does not train on; by default all",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "mask",
        "valid",
        MASKS,
        "pixels that count: all with a surface, those with a transparent one, or those of the masks that are stored with the "
        "scenes, such as the faces on printed pictures (all of a scene without masks)",
    )
    flags.DEFINE_boolean(
        "exact",
        False,
        "look up every point's neighbour in scenes of more than 50,000 points too, not a sample of 20,000",
    )
    flags.DEFINE_boolean("save_predictions", False, "keep the model's depth maps and cameras, for --predictions")
    flags.DEFINE_boolean("overwrite", False, "replace an earlier result in the output folder")
    flags.DEFINE_list(
        "compare", [], "two results (folders or scenes.csv) with a comma: print which is better, and stop"
    )
    run(main)
