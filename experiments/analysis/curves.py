"""Held-out energy by part and side over the number of adapters that a subspace is mined from, and over their steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from experiments.analysis.resampling import adapter_counts
from experiments.analysis.specificity import PartRow, measure_specificity, part_rows
from experiments.mining.folder import Inputs
from experiments.process.reporting import SILENT, Reporter

Over = Literal["adapters", "steps"]
"""What changes along a curve."""


@dataclass(frozen=True)
class CurvePoint:
    """A part of the model and a side, somewhere on a curve."""

    over: Over
    """What changes along the curve."""
    at: int
    """Number of adapters that are mined, or of steps that they were trained for."""
    row: PartRow
    """Shares of held-out adapters."""


def measure_curves(inputs: Inputs, reporter: Reporter = SILENT) -> list[CurvePoint]:
    """From two adapters to all but the one that is held out, and at all steps that every attribute has snapshots of.

    Args:
      inputs: with adapters, at least three of each attribute.
      reporter: told of every point.
    """
    found = []
    for members in range(2, min(adapter_counts(inputs).values())):
        reporter.info(f"subspaces of {members} adapters")
        rows = part_rows(measure_specificity(inputs, members=members))
        found += [CurvePoint("adapters", members, row) for row in rows]
    snapshots = {name: mined.snapshots for name, mined in inputs.attributes.items()}
    for step in sorted(set.intersection(*(set(each) for each in snapshots.values()))):
        reporter.info(f"adapters of {step} steps")
        early = {name: replace(mined, adapter_files=snapshots[name][step]) for name, mined in inputs.attributes.items()}
        found += [CurvePoint("steps", step, row) for row in part_rows(measure_specificity(Inputs(early)))]
    return found
