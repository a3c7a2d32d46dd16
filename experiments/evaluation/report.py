"""The files that an evaluation leaves, and its figures for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluation.paired import Difference
from experiments.evaluation.remarks import facts, remarks
from experiments.evaluation.results import ALL_METRICS, METRICS, POSE_METRICS, Metric, Results, SceneKey, csv_of, means
from experiments.evaluation.scene import SceneMetrics
from experiments.reports.page import Section, Table, photograph, render
from experiments.storage.files import write_json

SUMMARY = "summary.json"
OUTPUTS = frozenset({"scenes.csv", SUMMARY, "report.html", "pictures", "predictions"})


def summary(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """``summary.json``: means over scenes, overall and by data set, and what they were made of (``about``)."""
    rows = {key: metrics.row() for key, metrics in results.scenes.items()}
    datasets = dict.fromkeys(dataset for dataset, _ in rows)
    return {
        "scenes": len(rows),
        "mean": means(list(rows.values())),
        "by_dataset": {name: means([row for key, row in rows.items() if key[0] == name]) for name in datasets},
        "only_depth": list(results.without_poses),
        "without_prediction": sum(metrics.missing for metrics in results.scenes.values()),
        "plausibility": {"/".join(key): facts(found) for key, found in results.plausible.items()},
        "not_converged": sum(not metrics.icp_converged for metrics in results.scenes.values()),
        "skipped": {"/".join(key): reason for key, reason in results.skipped.items()},
        "views": {name: list(views) for name, views in results.views.items()},
        "settings": dict(about),
    }


def table(results: Results) -> str:
    """Means over scenes for the terminal."""
    found = means([metrics.row() for metrics in results.scenes.values()])
    lines = [f"{metric.title:<28} {found[metric.name]:>10.5f}" for metric in ALL_METRICS if metric.name in found]
    return "\n".join([*lines, *remarks(results)])


def extremes(scenes: Mapping[SceneKey, SceneMetrics]) -> dict[SceneKey, str]:
    """The scenes with the best, median and worst accuracy, and what they are; fewer if there are fewer scenes.

    It is AbsRel in place of accuracy where that was not measured in all scenes.
    """
    accuracies = {key: metrics.points.accuracy for key, metrics in scenes.items()}
    by, figures = "accuracy", accuracies
    if np.isnan(list(accuracies.values())).any():
        by, figures = "AbsRel", {key: metrics.abs_rel for key, metrics in scenes.items()}
    order = sorted(scenes, key=lambda key: figures[key])
    places = {0: "best", len(order) // 2: "median", len(order) - 1: "worst"}
    if len(order) == 1:
        places = {0: "only"}
    return {order[place]: f"{rank} {by}" for place, rank in sorted(places.items())}


def comparison_table(differences: Mapping[str, Difference]) -> str:
    """Differences of two results for the terminal, one line for each metric."""
    lines = [f"{'':<28} {'first':>10} {'second':>10} {'difference':>11}   95 % interval            p"]
    for metric in ALL_METRICS:
        if metric.name not in differences:
            continue
        found, test = differences[metric.name], differences[metric.name].test
        verdict = ""
        if test.low > 0 or test.high < 0:
            verdict = "  second is better" if test.mean * metric.better > 0 else "  first is better"
        lines.append(
            f"{metric.title:<28} {found.first:>10.5f} {found.second:>10.5f} {test.mean:>+11.5f}   "
            f"[{test.low:+.5f}, {test.high:+.5f}]  {test.p:.4f}{verdict}"
        )
    lines.append(f"{len(differences)} metrics; intervals and p are not corrected for their number")
    return "\n".join(lines)


def write_results(
    folder: Path, title: str, results: Results, about: Mapping[str, Any], pictures: Mapping[SceneKey, Figure]
) -> None:
    """Write ``scenes.csv``, ``summary.json``, ``pictures/*.png`` and ``report.html``.

    Args:
        folder: that gets them.
        title: of the page.
        results: what was measured.
        about: settings by name, for the summary and the foot of the page.
        pictures: of some scenes.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / "scenes.csv").write_text(csv_of(results.scenes), encoding="utf-8")
    numbers = summary(results, about)
    write_json(folder / SUMMARY, numbers)
    (folder / "pictures").mkdir()
    shown = []
    names = extremes(results.scenes)
    for key, drawing in pictures.items():
        file = folder / "pictures" / f"{'_'.join(key)}.png"
        drawing.savefig(file, dpi=110)
        shown.append(photograph(file, f"{'/'.join(key)}, {names[key]}: {_caption(results.scenes[key])}"))
    words, sections = _words(numbers, remarks(results)), [*_tables(results, numbers), Section("Pictures", shown)]
    html = render(title, words, sections, _metadata(numbers))
    (folder / "report.html").write_text(html, encoding="utf-8")


def _words(numbers: Mapping[str, Any], remarked: Sequence[str]) -> str:
    mean = numbers["mean"]
    clouds = ""
    if "accuracy" in mean:
        clouds = (
            f"accuracy {mean['accuracy']:.4f}, completeness {mean['completeness']:.4f} (unit of the truth), normal "
            f"consistency {mean['normal_consistency']:.3f}; "
        )
    depths = f"AbsRel {mean['abs_rel']:.4f}, {mean['delta']:.1%} of depths within 1.25."
    words = " ".join([f"Over {numbers['scenes']} scene(s): {clouds}{depths}", *remarked])
    if numbers["skipped"]:
        words += f" {len(numbers['skipped'])} scene(s) were left out."
    return words


def _caption(metrics: SceneMetrics) -> str:
    if np.isnan(metrics.points.accuracy):
        return (
            f"AbsRel {metrics.abs_rel:.4f}, δ < 1.25 {metrics.delta:.1%}. From above: views, true depth, predicted depth after "
            "the alignment of each view, and their relative difference."
        )
    return (
        f"Acc {metrics.points.accuracy:.4f}, Comp {metrics.points.completeness:.4f}, AbsRel {metrics.abs_rel:.4f}. Above, from "
        "the side: truth, prediction after alignment, and coloured by error. Below: views, and the distance of each pixel's "
        "point from the true one."
    )


def _tables(results: Results, numbers: Mapping[str, Any]) -> list[Section]:
    caption = (
        "Acc: distance of predicted points from the truth, Comp: of true points from the prediction, after a similarity over "
        "corresponding pixels and ICP. NC: |cosine| of normals. AbsRel, δ: of depth, each view aligned in scale and "
        "translation as MoGe does; and by the best alignment there is."
    )
    of_cameras = (
        "RRA@τ, RTA@τ: pairs of views whose relative rotation, or the direction of their relative translation, is off by less "
        "than τ degrees; AUC@τ: mean of the shares below 1 to τ degrees in both. ATE: centres after a similarity; RPE: from "
        "each view to the next."
    )
    clouds, clouds_of_scenes = _pair_of_tables(METRICS, results, numbers, caption)
    cameras = _pair_of_tables(POSE_METRICS, results, numbers, of_cameras)
    sections = [
        Section("Means over scenes", [clouds]),
        *([Section("Cameras", cameras)] if len(cameras[0].headings) > 1 else []),
        Section("Scenes", [clouds_of_scenes]),
    ]
    if results.skipped:
        left_out = [["/".join(key), reason] for key, reason in results.skipped.items()]
        sections.append(Section("Left out", [Table(["scene", "why"], left_out)]))
    return sections


def _pair_of_tables(
    metrics: Sequence[Metric], results: Results, numbers: Mapping[str, Any], caption: str
) -> tuple[Table, Table]:
    """Means by data set, and figures of each scene."""
    measured = [metric for metric in metrics if any(metric.name in mean for mean in numbers["by_dataset"].values())]
    headings = [metric.title for metric in measured]

    def cells(values: Mapping[str, float]) -> list[str]:
        return [_cell(metric, values) for metric in measured]

    rows = [[name, *cells(values)] for name, values in numbers["by_dataset"].items()]
    rows.append(["all", *cells(numbers["mean"])])
    each = [["/".join(key), *cells(scene.row())] for key, scene in results.scenes.items()]
    spread = {
        metric.name: float(np.std([scene.row()[metric.name] for scene in results.scenes.values()]))
        for metric in measured
    }
    each.append(["standard deviation", *cells(spread)])
    return (
        Table(["data set", *headings], rows, caption),
        Table(["scene", *headings], each, "All that was measured is in scenes.csv."),
    )


def _cell(metric: Metric, values: Mapping[str, float]) -> str:
    value = values.get(metric.name, float("nan"))
    return "–" if np.isnan(value) else f"{value:.4f}"


def _metadata(numbers: Mapping[str, Any]) -> dict[str, str]:
    views = {f"views of {name}": ", ".join(map(str, views)) for name, views in numbers["views"].items()}
    return {**{name: str(value) for name, value in numbers["settings"].items()}, **views}
