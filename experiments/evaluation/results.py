"""Figures of many scenes: a CSV with a row for each, their means, and how results read on paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.evaluation.plausibility import Plausibility
from experiments.evaluation.scene import SceneMetrics
from subspace.errors import InputError
from vggt_jax.reading.regular import read_bytes


@dataclass(frozen=True)
class Metric:
    """How a figure is called and read."""

    name: str
    """Column of the CSV."""
    title: str
    """Heading in tables."""
    better: int
    """1 if larger is better, −1 if smaller is."""


METRICS = (
    Metric("accuracy", "Acc ↓", -1),
    Metric("accuracy_median", "Acc, median ↓", -1),
    Metric("completeness", "Comp ↓", -1),
    Metric("completeness_median", "Comp, median ↓", -1),
    Metric("normal_consistency", "NC ↑", 1),
    Metric("normal_consistency_median", "NC, median ↑", 1),
    Metric("abs_rel", "AbsRel ↓", -1),
    Metric("delta", "δ < 1.25 ↑", 1),
    Metric("abs_rel_optimal", "AbsRel, best alignment ↓", -1),
    Metric("delta_optimal", "δ < 1.25, best alignment ↑", 1),
)
"""Of clouds and depth maps. What is averaged over scenes and compared, in this order, if it was measured in all of them."""
POSE_METRICS = (
    Metric("rra_5", "RRA@5 ↑", 1),
    Metric("rra_10", "RRA@10 ↑", 1),
    Metric("rra_30", "RRA@30 ↑", 1),
    Metric("rta_5", "RTA@5 ↑", 1),
    Metric("rta_10", "RTA@10 ↑", 1),
    Metric("rta_30", "RTA@30 ↑", 1),
    Metric("auc_5", "AUC@5 ↑", 1),
    Metric("auc_10", "AUC@10 ↑", 1),
    Metric("auc_30", "AUC@30 ↑", 1),
    Metric("ate", "ATE ↓", -1),
    Metric("rpe_translation", "RPE, translation ↓", -1),
    Metric("rpe_rotation", "RPE, rotation (°) ↓", -1),
)
"""The same of cameras; results of earlier versions do not have them."""
ALL_METRICS = (*METRICS, *POSE_METRICS)
_KEYS = ("dataset", "scene")
_MOST_BYTES = 1 << 28
"""Of a CSV; that of 100,000 scenes has 50 million."""

SceneKey = tuple[str, str]
"""Data set and scene."""


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    scenes: Mapping[SceneKey, SceneMetrics]
    """Figures of each scene."""
    skipped: Mapping[SceneKey, str]
    """Why a scene was left out."""
    views: Mapping[str, Sequence[int]]
    """Views that were evaluated, by data set."""
    without_poses: Sequence[str] = ()
    """Data sets of which only depth was evaluated."""
    plausible: Mapping[SceneKey, Plausibility] = field(default_factory=dict)
    """What stored predictions say about their conventions."""


def joined(parts: Sequence[Results]) -> Results:
    """Results of several data sets as one."""
    return Results(
        {key: found for part in parts for key, found in part.scenes.items()},
        {key: why for part in parts for key, why in part.skipped.items()},
        {name: views for part in parts for name, views in part.views.items()},
        [name for part in parts for name in part.without_poses],
        {key: found for part in parts for key, found in part.plausible.items()},
    )


def csv_of(scenes: Mapping[SceneKey, SceneMetrics]) -> str:
    """One row for each scene, with everything that was measured; numbers read back exactly."""
    buffer = io.StringIO()
    rows = [dict(zip(_KEYS, key, strict=True)) | metrics.row() for key, metrics in scenes.items()]
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_csv(path: Path) -> dict[SceneKey, dict[str, float]]:
    """The :data:`ALL_METRICS` of each scene of a CSV that :func:`csv_of` made; NaN for those of cameras that it lacks.

    Args:
        path: the file, or a folder of :func:`experiments.evaluation.evaluate` with ``scenes.csv``.

    Raises:
        InputError: it is no such file, or empty.
        OSError: it cannot be read.
    """
    file = path / "scenes.csv" if path.is_dir() else path
    rows: dict[SceneKey, dict[str, float]] = {}
    try:
        lines = io.StringIO(read_bytes(file, _MOST_BYTES).decode("utf-8"), newline="")
        table = csv.DictReader(lines)
        columns = table.fieldnames or ()
        if missing := [name for name in (*_KEYS, *(metric.name for metric in METRICS)) if name not in columns]:
            raise InputError(f"its first line lacks the column {missing[0]}")
        for row in table:
            key = row["dataset"], row["scene"]
            if key in rows or None in row or None in row.values():
                raise InputError(f"{'/'.join(map(str, key))} is there twice, or its row has other columns")
            rows[key] = {
                **{metric.name: float(row[metric.name]) for metric in METRICS},
                **{metric.name: float(row.get(metric.name, "nan")) for metric in POSE_METRICS},
            }
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is no scenes.csv of experiments.evaluate: {error}") from None
    if not rows:
        raise InputError(f"{file} has no scenes")
    return rows


def means(scenes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over scenes of each of the :data:`ALL_METRICS` that was measured in all of them."""
    found = {metric.name: float(np.mean([scene[metric.name] for scene in scenes])) for metric in ALL_METRICS}
    return {name: mean for name, mean in found.items() if not np.isnan(mean)}
