"""The folder of results: the adapter or model, the losses of all steps, and a summary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.finetuning.data import TuningData
from experiments.finetuning.files import METRICS, SUMMARY
from experiments.finetuning.run import FineTuned
from experiments.finetuning.settings import Settings
from experiments.training.held_out_errors import ABS_REL, DIRECTION, ROTATION
from experiments.training.metrics_log import plain
from vggt_jax.disk_space import named_if_full

_ERRORS = {
    ABS_REL: ("AbsRel of depth", ".3f"),
    ROTATION: ("rotation (degrees)", ".1f"),
    DIRECTION: ("direction of translation (degrees)", ".1f"),
}
"""Name → in words, with its format."""


def write_results(folder: Path, settings: Settings, identity: Any, tuned: FineTuned, data: TuningData) -> None:
    """Copy result and metrics to ``folder``, and write the summary.

    Raises OSError if it cannot be written.
    """
    summary = {
        **identity,
        "weights": settings.weights,
        "data": data.sha256,
        "run": str(tuned.folder),
        "parameters": {"total": tuned.parameters.total, "parts": tuned.parameters.parts},
        "seconds": tuned.seconds,
        "statistics": tuned.statistics,
        "validation": {
            "scenes": list(data.validation_names),
            "before": {name: plain(values) for name, values in tuned.before.items()},
            "after": {name: plain(values) for name, values in tuned.after.items()},
        },
    }
    with named_if_full(folder):
        copy = shutil.copytree if tuned.result.is_dir() else shutil.copyfile
        copy(tuned.result, folder / tuned.result.name)
        shutil.copyfile(tuned.folder / METRICS, folder / METRICS)
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def verdict(tuned: FineTuned) -> str:
    """What errors on validation scenes were and became, as a sentence; what the loss is a share of means nothing."""
    if not tuned.before:
        return "No scene was held out to validate on."
    before, after = tuned.before, tuned.after
    known = {
        name: np.isfinite(before[name]) & np.isfinite(after[name])
        for name in _ERRORS
        if name in before and name in after
    }
    errors = [
        f"{words} {before[name][known[name]].mean():{form}} → {after[name][known[name]].mean():{form}}"
        for name, (words, form) in _ERRORS.items()
        if name in known and known[name].any()
    ]
    lower = int(np.sum(after["loss"] < before["loss"]))
    return (
        f"On {len(after['loss'])} validation scenes: {', '.join([*errors, f'the training loss is lower on {lower}'])}."
    )
