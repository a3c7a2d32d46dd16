"""What the report says of the extraction: settings, the data, and how the adapters learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from experiments.extraction.adapters import METRICS, Adapters
from experiments.extraction.data import Data
from experiments.extraction.settings import Settings
from experiments.extraction.source import Source
from experiments.mining.origin import Origin, Targets
from experiments.reports.drawings import svg
from experiments.reports.page import Section, Table, photograph, plot
from experiments.training.metrics_log import read_metrics


def title(settings: Settings, origin: Origin) -> str:
    """The heading of the page."""
    if settings.adapters:
        return "A shared subspace"
    control = ", shuffled targets" if settings.targets == "shuffled" else ""
    return f"The {settings.attribute} subspace of {origin.base}{control}"


def facts(settings: Settings, source: Source, origin: Origin, seconds: float) -> dict[str, str]:
    """Settings, folders and times, for people."""
    mined = {
        "attribute": settings.attribute,
        "exponent α": f"{settings.exponent:g}",
        "d'": str(settings.dim),
        "base model": origin.base_label,
        "k": str(len(origin.adapters)),
        "seconds": f"{seconds:.0f}",
    }
    if source.trained is None or source.data is None:
        return {**mined, "adapters": ", ".join(map(str, settings.adapters) if settings.adapters else origin.adapters)}
    sizes = ("resolution", "views", "samples", "scenes")
    return {
        **mined,
        "setting": settings.setting,
        "input factors drawn": settings.init,
        "targets": settings.targets,
        "seed": str(settings.seed),
        "preset": settings.preset,
        **{f"preset: {name}": str(getattr(settings, name)) for name in sizes},
        **{f"preset: {name}": str(value) for name, value in asdict(settings.training).items()},
        "data sets": str(source.data.folder),
        "trained adapters": str(source.trained.folder),
    }


def sections(source: Source) -> list[Section]:
    """What comes before the subspace; nothing for imported adapters."""
    if source.trained is None or source.data is None:
        return []
    return [data_section(source.data), training_section(source.trained)]


def data_section(data: Data) -> Section:
    """The contact sheets of the first two data sets."""
    settings = data.settings
    sheets = [
        photograph(
            data.contact_sheet(number),
            f"Data set {number}. A row is a scene, a column a view: only the {settings.attribute} varies down the rows.",
        )
        for number in list(data.training)[:2]
    ]
    scenes = len(data.training[0])
    return Section(
        "Data",
        [
            f"{len(data.training)} data sets in the setting {settings.setting}, each of {scenes} scenes to train on and "
            f"{len(data.held_out[0])} held out, {settings.views} views of {settings.resolution}×{settings.resolution} pixels. "
            f"Within a data set only the {settings.attribute} varies from scene to scene; from one data set to the next "
            "everything else is drawn anew.",
            *sheets,
        ],
    )


def training_section(adapters: Adapters) -> Section:
    """Held-out losses before and after, and the curves of all adapters."""
    names = list(adapters.adapters)
    before, after = adapters.before["loss"], adapters.after["loss"]
    pairs = ", with their own truth" if adapters.targets == "shuffled" else ""
    rows = [
        [
            name,
            f"{b.mean():.3f} ± {b.std():.3f}",
            f"{a.mean():.3f} ± {a.std():.3f}",
            f"{_gain(b, a):+.1%}",
            _better(b, a),
        ]
        for name, b, a in zip(names, before, after, strict=True)
    ]
    return Section(
        "Training",
        [
            training_verdict(adapters),
            Table(
                ["adapter", "base model", "with adapter", "change", "scenes improved"],
                rows,
                f"VGGT's training loss on the held-out scenes of the adapter's own data set{pairs}: mean ± spread over the "
                "scenes.",
            ),
            plot(
                svg(_draw_curves(read_metrics(adapters.folder / METRICS), names)),
                "Loss of every adapter. Thin: each training step, smoothed over 2 % of the steps. Dots: held-out "
                f"scenes{pairs}.",
            ),
        ],
    )


def training_verdict(trained: Adapters) -> str:
    """By how much the adapters beat the base on scenes that they have not seen, and whether they are a control."""
    return learned(trained.before["loss"], trained.after["loss"], trained.targets)


def learned(before: np.ndarray, after: np.ndarray, targets: Targets) -> str:
    """By how much the adapters beat the base on scenes that they have not seen, and whether they are a control.

    Args:
        before: losses (k, scenes) of the base model.
        after: losses (k, scenes) with the adapters.
        targets: what the adapters were trained towards.
    """
    gains = [_gain(b, a) for b, a in zip(before, after, strict=True)]
    improved = sum(gain < 0 for gain in gains)
    words = (
        f"On held-out scenes of its own data set, {improved} of {len(gains)} adapters have a lower loss than the base model: "
        f"{np.mean(gains):+.1%} on average ({min(gains):+.1%} to {max(gains):+.1%})."
    )
    if targets == "shuffled":
        return f"A control: trained on images with the truth of other scenes, measured on true pairs. {words}"
    return words


def _gain(before: np.ndarray, after: np.ndarray) -> float:
    """Relative change of the mean loss; against its size, as confidence terms can make it negative."""
    return float((after.mean() - before.mean()) / abs(before.mean()))


def _better(before: np.ndarray, after: np.ndarray) -> str:
    return f"{int((after < before).sum())} of {len(before)}"


def _draw_curves(events: Sequence[dict[str, Any]], names: Sequence[str]) -> Drawing:
    figure = Drawing(figsize=(8, 3.6), layout="constrained")
    panel = figure.subplots()
    training = [event for event in events if event["kind"] == "training"]
    steps = np.array([event["step"] for event in training])
    losses = np.array([event["loss"] for event in training], np.float64)
    width = max(1, len(steps) // 50)
    checks = [event for event in events if event["kind"] == "validation"]
    for i, name in enumerate(names):
        smooth = np.convolve(losses[:, i], np.ones(width) / width, mode="valid")
        (line,) = panel.plot(steps[width - 1 :], smooth, lw=0.8, alpha=0.7, label=name)
        held_out = [event["loss"][i] for event in checks]
        panel.plot([event["step"] for event in checks], held_out, "o-", ms=4, lw=1.4, color=line.get_color())
    panel.set_xlabel("step")
    panel.set_ylabel("loss")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False, ncol=2)
    return figure
