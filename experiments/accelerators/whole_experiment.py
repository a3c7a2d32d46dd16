"""What the paper's mining takes on a cluster: rendering, training and input, by figures of each, and what is waited for.

Rendering and training overlap, as adapters of a data set begin when that is complete. So the slowest decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from experiments.accelerators.chips import CHIPS, Chip
from experiments.accelerators.costs import costs
from experiments.accelerators.layouts import CONFIGS, Row, fitting, table
from experiments.presets import PRESETS
from experiments.scenes.schema import Setting
from experiments.training.sampling import view_counts
from subspace.errors import InputError

_PRESET = PRESETS["vggt_1b"]
BYTES_READ: dict[Setting, float] = {"object_centric": 0.397e6, "micro_baseline": 0.877e6, "wide_baseline": 0.877e6}
"""Of a packed view of 518² that training reads: picture, depth and valid pixels (docs/data.md, renderings of Blender)."""
BYTES_STORED: dict[Setting, float] = {"object_centric": 0.635e6, "micro_baseline": 1.605e6, "wide_baseline": 1.605e6}
"""Of a whole packed view."""
READING_S = 0.0062
"""Of a core for a packed picture from the disk to the device: 0.199 s for 32 (``python -m experiments.benchmark input``)."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Machines, and what they cost."""

    title: str
    """For people."""
    device: str
    """Name of its accelerators."""
    chips: int
    """Number of them; each trains adapters of its own."""
    cores: int
    """That render, or read pictures."""
    price: float = 0.0
    """Of an accelerator for an hour."""
    core_price: float = 0.0
    """Of a core for an hour, beside the accelerators' own."""
    byte_price: float = 0.0
    """Of a gigabyte for a month."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What the mining of some attributes takes."""

    pictures: int
    """That are rendered."""
    core_hours: float
    """Of rendering them."""
    chip_hours: float
    """Of training."""
    rendering_hours: float
    """On all cores that reading leaves free."""
    training_hours: float
    """On all accelerators."""
    reading_cores: float
    """That the accelerators' input keeps busy."""
    reading_bytes: float
    """A second, from the store to the accelerators."""
    data_bytes: float
    """Of packed data sets."""
    result_bytes: float
    """Of adapters and their checkpoints."""
    money: float
    """Of accelerators, cores and a month of the data."""

    @property
    def hours(self) -> float:
        """From the first picture to the last step."""
        return max(self.rendering_hours, self.training_hours)

    @property
    def slowest(self) -> str:
        """What is waited for."""
        return "rendering" if self.rendering_hours > self.training_hours else "training"


def takes(cluster: Cluster, *, attributes: int = 4, models: int = 1, setting: Setting = "object_centric") -> Takes:
    """What it takes to mine attributes in models of VGGT-1B's size, with the paper's numbers.

    Args:
        cluster: where.
        attributes: each has ten data sets (five in a room).
        models: each has an adapter on every data set, and all see the same pictures.
        setting: what is rendered.

    Raises InputError for a chip without stored plans, a cluster without cores, or with too few to feed the chips.
    """
    chip = CHIPS[cluster.device]
    seconds = step_seconds(chip)
    sets = attributes * _PRESET.rendering.datasets[setting]
    adapters = sets * models
    each = costs(_PRESET, CONFIGS["vggt_1b"](), seconds, adapters=sets, steps=_PRESET.training.steps, setting=setting)
    busy = min(cluster.chips, adapters)
    pictures_per_second = busy * _PRESET.training.images / seconds
    reading = pictures_per_second * READING_S
    if cluster.cores <= reading:
        raise InputError(f"cores: reading for {busy} chips alone needs {reading:.1f} of them", argument="cores")
    chip_hours = adapters * _PRESET.training.steps * seconds / 3600
    data = each.pictures * BYTES_STORED[setting]
    hours = ceil(adapters / cluster.chips) * _PRESET.training.steps * seconds / 3600
    return Takes(
        pictures=each.pictures,
        core_hours=each.core_hours,
        chip_hours=chip_hours,
        rendering_hours=each.core_hours / (cluster.cores - reading),
        training_hours=hours,
        reading_cores=reading,
        reading_bytes=pictures_per_second * BYTES_READ[setting],
        data_bytes=data,
        result_bytes=each.result_bytes * models,
        money=chip_hours * cluster.price
        + (each.core_hours + reading * hours) * cluster.core_price
        + data / 1e9 * cluster.byte_price,
    )


def step_seconds(chip: Chip) -> float:
    """Of a step, as the numbers of views are drawn evenly, by the stored plans; a number without a plan counts as the next one.

    Raises InputError for a chip that was not compiled for, or that no step fits.
    """
    counts = view_counts(
        _PRESET.training.images, fewest=_PRESET.training.fewest_views, most=_PRESET.training.most_views
    )
    images = _PRESET.training.images
    own = [row for row in table() if row.chip == chip.name and not row.mesh and row.adapters == 1]
    place = fitting(chip, chip.usable, counts[-1], own)
    by_views: dict[int, Row] = {
        row.views: row for row in own if row.layout == place and row.sequences * row.views == images
    }
    if place is None and own:
        raise InputError(f"device: {chip.title} holds none of the steps that were compiled for it", argument="device")
    if place is None or counts[-1] not in by_views:
        known = ", ".join(
            name for name in CHIPS if any(row.chip == name and row.views == counts[-1] for row in table())
        )
        raise InputError(f"device: {chip.title} has no stored plans, only {known}", argument="device")
    planned = [by_views[min(views for views in by_views if views >= count)].seconds for count in counts]
    return float(np.mean(planned))


CLUSTERS = (
    Cluster(title="a desktop", device="rtx4090", chips=1, cores=16, price=0.35, core_price=0.0, byte_price=0.0),
    Cluster(title="a server", device="h100", chips=8, cores=96, price=2.5, core_price=0.03, byte_price=0.02),
    Cluster(title="eight servers", device="h100", chips=64, cores=768, price=2.5, core_price=0.03, byte_price=0.02),
)
"""Of the page "What the paper's experiment costs"; prices are examples."""
_OUTLOOK = ((4, 1), (100, 1), (1_000, 1), (1_000, 10))
"""Attributes and models."""


def told(cluster: Cluster, found: Takes) -> Iterator[str]:
    """What it takes, line by line."""
    yield f"rendering {found.pictures:,} pictures, {found.core_hours:,.0f} core-hours: {found.rendering_hours:,.1f} hours"
    chip = CHIPS[cluster.device].title
    yield f"training  {found.chip_hours:,.0f} hours of {chip}, by plan: {found.training_hours:,.1f} hours on {cluster.chips}"
    yield f"input     {found.reading_bytes / 1e6:,.1f} MB/s, which keep {found.reading_cores:.1f} cores busy"
    results = f"{found.result_bytes / 1e9:,.1f} GB of adapters and checkpoints"
    yield f"disk      {found.data_bytes / 1e12:,.2f} TB of packed data, {results}"
    yield f"in all    {found.hours:,.1f} hours; {found.slowest} is waited for" + (
        f"; {found.money:,.0f} at the prices that were given" if found.money else ""
    )


def markdown() -> Iterator[str]:
    """The tables of the page."""
    yield "| cluster | rendering | training | input | packed data | in all | waits for | money |"
    yield "|---|---|---|---|---|---|---|---|"
    for cluster in CLUSTERS:
        found = takes(cluster)
        name = f"{cluster.title}: {cluster.chips} × {CHIPS[cluster.device].title}, {cluster.cores} cores"
        yield f"| {name} {_cells(found)}"
    yield ""
    yield "| attributes × models, on eight servers | rendering | training | input | packed data | in all | waits for | money |"
    yield "|---|---|---|---|---|---|---|---|"
    for attributes, models in _OUTLOOK:
        yield f"| {attributes:,} × {models} {_cells(takes(CLUSTERS[-1], attributes=attributes, models=models))}"


def _cells(found: Takes) -> str:
    return (
        f"| {found.core_hours:,.0f} core-hours: {found.rendering_hours:,.0f} h | {found.chip_hours:,.0f} chip-hours: "
        f"{found.training_hours:,.0f} h | {found.reading_bytes / 1e6:,.0f} MB/s, {found.reading_cores:.1f} cores "
        f"| {found.data_bytes / 1e12:,.1f} TB | {found.hours:,.0f} h | {found.slowest} | {found.money:,.0f} |"
    )
