"""The folder of results: adapter or model, log, and a summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.finetuning.data import TuningData
from experiments.finetuning.full import MODEL
from experiments.finetuning.methods import ADAPTER
from experiments.finetuning.run import Tuned
from experiments.storage.disk_space import named_if_full
from experiments.storage.output_folder import new_folder

SUMMARY, METRICS = "summary.json", "metrics.jsonl"
OUTPUTS = frozenset({ADAPTER, MODEL, METRICS, SUMMARY})


def write_results(output: Path, tuned: Tuned, data: TuningData, facts: Mapping[str, str]) -> None:
    """Write the folder, or replace an earlier one, once everything is complete.

    Raises:
        ValueError: the folder holds something that is not of this command.
        OSError: it cannot be written.
    """
    summary = {
        "facts": {**facts, **tuned.facts},
        "parameters": {"total": tuned.count.total, "parts": tuned.count.parts},
        "data": data.sha256,
        "validation": {
            "scenes": list(data.validation_names),
            "before": {name: values.tolist() for name, values in tuned.before.items()},
            "after": {name: values.tolist() for name, values in tuned.after.items()},
        },
        "verdict": verdict(tuned),
    }
    with named_if_full(output), new_folder(output, True, OUTPUTS) as folder:
        copy = shutil.copytree if tuned.result.is_dir() else shutil.copyfile
        copy(tuned.result, folder / tuned.result.name)
        shutil.copyfile(tuned.folder / METRICS, folder / METRICS)
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def verdict(tuned: Tuned) -> str:
    """By how much the loss on validation scenes changed."""
    if not tuned.before:
        return "No scene was held out to validate on."
    before, after = tuned.before["loss"], tuned.after["loss"]
    change = float((after.mean() - before.mean()) / abs(before.mean()))
    better = int(np.sum(after < before))
    return (
        f"Loss on validation scenes: {before.mean():.4f} before, {after.mean():.4f} after ({change:+.1%}); "
        f"{better} of {len(after)} scenes improved."
    )
