"""Plans and layouts in words, for commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from experiments.accelerators.chips import CHIPS, Chip
from experiments.accelerators.costs import Costs
from experiments.accelerators.kernels import KINDS
from experiments.accelerators.layouts import LAYOUTS, Row
from experiments.accelerators.planning import Plan
from experiments.training.step_plan import StepPlan


def laid_out(plan: StepPlan) -> str:
    """A layout in one line."""
    at_once = "all sequences of a step" if plan.accumulate is None else f"{plan.accumulate} sequence(s)"
    parts = [f"{plan.adapters_at_once or 1} adapter(s) at a time", f"{at_once} at once"]
    if kept := _kept(plan):
        parts.append(kept)
    if plan.frames_chunk is not None:
        parts.append(f"{plan.frames_chunk} frames at a time in the dense head")
    return ", ".join(parts)


def _kept(plan: StepPlan) -> str:
    """What the backward pass finds of the forward pass, by what was said of it."""
    if plan.remat is False:
        return "all kept"
    return "" if plan.keep_attention is None else "attention kept" if plan.keep_attention else "attention again"


def told(plan: Plan, spent: Costs, chips: int) -> Iterator[str]:
    """A plan and what the experiment takes, line by line."""
    chip, row, training = plan.chip, plan.row, plan.program
    total = sum(row.operations.values())
    assert row.peak is not None
    yield f"fits      {laid_out(plan.layout)}; {training.config.dtype}, heads {training.config.head_dtype}"
    yield (
        f"memory    {row.peak / 1e9:.1f} GB planned of the {plan.limit / 1e9:.1f} GB that a program may take "
        f"(of {chip.memory / 1e9:.1f} GB), with {training.sequences} × {training.views} pictures"
    )
    each = ", ".join(f"{views} views {seconds:.2f} s" for views, seconds in plan.seconds.items())
    images = training.sequences * training.views
    yield f"step      {each}; by roofline: {images / plan.mean_seconds:.1f} pictures/s. Nobody has measured it there yet"
    work = ", ".join(f"{kind} {row.operations[kind] / 1e12:.0f}" for kind in KINDS[:-1] if row.operations.get(kind))
    again = f"{row.repeated / total:.0%} of it a second time"
    yield f"work      {total / 1e12:.0f} TFLOP ({work}), {again}; {row.bytes / 1e9:.0f} GB moved"
    yield f"compiled  in {row.compile_cpu_s:.0f} CPU-seconds, without autotuning"
    yield f"training  {spent.hours:,.0f} hours on {chips} chip(s)" + (
        f", {spent.money:,.0f} at the price that was given" if spent.money is not None else ""
    )
    data = ""
    if spent.pictures:
        yield f"rendering {spent.pictures:,} pictures, {spent.core_hours:,.0f} core-hours"
        data = f"{spent.data_bytes / 1e9:,.0f} GB of data, "
    yield f"disk      {data}{spent.result_bytes / 1e9:.1f} GB of adapters and checkpoints"


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """The stored table, for the documentation."""
    yield "| chip | step | layout | peak | CPU-s to compile | TFLOP | recomputed | moved | step by roofline | pictures/s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield _line(row, CHIPS[row.chip])


def _line(row: Row, chip: Chip) -> str:
    what = f"{row.sequences} × {row.views}" + (f", {row.adapters} adapters" if row.adapters > 1 else "")
    name = f"{chip.title}" + (f", {row.mesh}" if row.mesh else "")
    layout = LAYOUTS[row.layout]
    at_once = "all" if layout.accumulate is None else layout.accumulate
    words = f"{at_once} at once, {_kept(layout)}, {layout.frames_chunk} frames"
    if row.error:
        return f"| {name} | {what} | {words} | does not compile: {row.error} |||||||"
    if row.peak is None:
        return f"| {name} | {what} | {words} | more than {chip.usable / 1e9:.1f} GB |||||||"
    total = sum(row.operations.values())
    peak = f"{row.peak / 1e9:.1f} GB" + ("" if row.peak <= chip.usable else f", more than {chip.usable / 1e9:.1f}")
    return (
        f"| {name} | {what} | {words} | {peak} | {row.compile_cpu_s:.0f} | {total / 1e12:.0f} | {row.repeated / total:.0%} "
        f"| {row.bytes / 1e9:.0f} GB | {row.seconds:.2f} s | {row.sequences * row.views * row.adapters / row.seconds:.1f} |"
    )
