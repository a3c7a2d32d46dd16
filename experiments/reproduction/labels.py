"""What rows, searches and test sets are called in tables: made from their fields when something is written, never read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_never

from experiments.data.manifest import Split
from experiments.evaluation.results import METRICS
from experiments.finetuning.methods import METHODS
from experiments.mining.origin import Updates
from experiments.presets import Scale
from experiments.reproduction.rows import CHAMFER, PaperTable, Row
from experiments.reproduction.scale import scaled

BASE_MODEL, CONSTANT_DEPTH = "VGGT", "A constant depth"
_HEADS = "Heads alone"
"""The control: a method that changes nothing but the heads."""
_OTHERWISE_MINED: Mapping[Updates, str] = {
    "lora": "",
    "second_pass": " of a second pass",
    "full": " of full fine-tunings",
    "gradient": " of gradients",
}
LOSS = "validation_loss"
"""Name of the loss on validation scenes among figures."""
METRIC_NAMES = {
    "accuracy": "Acc",
    "completeness": "Comp",
    CHAMFER: "CD",
    "normal_consistency": "NC",
    "abs_rel": "AbsRel",
    "delta": "δ < 1.25",
    LOSS: "Loss",
}
Scenes = Split | Literal["validation"]
"""Scenes that figures are of."""
SPLIT_NAMES: Mapping[Scenes, str] = {
    "train": "training",
    "test": "test",
    "cross_domain": "cross-domain",
    "validation": "validation",
}
BETTER = {metric.name: metric.better for metric in METRICS} | {CHAMFER: -1, LOSS: -1}
"""Metric → 1 where larger is better, −1 where smaller is."""


def row_label(row: Row, table: PaperTable, scale: Scale) -> str:
    """A row's name with the sizes that it has at a scale: ``LoRA (rank=2)``, ``Ours (d=8)``, ``r=8 (d=1)``."""
    if row.method is None:
        return CONSTANT_DEPTH if row.constant_depth else BASE_MODEL
    name = _name(row, row.method, table, scale)
    if not row.size:
        return name
    return f"{name} ({METHODS[row.method].symbol}={scaled(scale, row.size)})"


def metric_title(metric: str) -> str:
    """A metric's short name with an arrow to where it is better."""
    return f"{METRIC_NAMES[metric]} {'↑' if BETTER[metric] > 0 else '↓'}"


def _among(row: Row, scale: Scale) -> str:
    return "" if row.mined_dim is None else f" by effective rank among {scaled(scale, row.mined_dim)}"


def _name(row: Row, method: str, table: PaperTable, scale: Scale) -> str:
    match table.named_by:
        case "mined_rank":
            return f"r={scaled(scale, row.mined_rank or scale.mined_rank)}"
        case "allocation":
            return row.allocation.capitalize()
        case "method":
            return (
                _HEADS
                if row.part == "heads"
                else f"{METHODS[method].label}{_OTHERWISE_MINED[row.updates]}{_among(row, scale)}"
            )
        case _:
            assert_never(table.named_by)
