"""What the report says of the extraction: settings, the data, and how the adapters learned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from experiments.extraction.adapters import KEPT, METRICS, Adapters
from experiments.extraction.data import Data
from experiments.extraction.settings import Settings
from experiments.extraction.source import Source
from experiments.mining.origin import Origin, Targets, Updates
from experiments.reports.drawings import svg
from experiments.reports.page import Section, Table, photograph, plot
from experiments.training.metrics_log import read_metrics

UPDATES: Mapping[Updates, str] = {
    "lora": "trained LoRAs",
    "second_pass": "LoRAs between outputs that were mined before, with inputs trained from zero",
    "full": "what full fine-tuning changed",
    "gradient": "one step along the mean gradient of the base model",
}
"""What updates are, for people."""


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
        **({"input factors drawn": settings.init} if settings.made == "lora" else {"updates": UPDATES[settings.made]}),
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


Losses = Mapping[str, np.ndarray]
"""Name of a loss or term → (k, scenes)."""
_TERMS = {"translation": "loss_T", "rotation": "loss_R", "field of view": "loss_FL", "depth": "loss_reg_depth"}
"""Errors that the training loss is made of, in words → as VGGT calls them."""
_SHARED_TRUTH = (
    "All scenes of a data set have one geometry and one camera path, the held-out ones too: their losses also measure memory "
    "of that truth."
)
_TERMS_MEAN = (
    "Translation, rotation (of the quaternion) and field of view (radians): mean absolute errors of the camera's encoding over "
    "the head's iterations. Depth: mean absolute error without the largest 2 %. Lengths are in the scene's mean distance."
)


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
            *([_SHARED_TRUTH] if settings.attribute in ("texture", "lighting") else []),
            *sheets,
        ],
    )


def training_section(adapters: Adapters) -> Section:
    """Held-out losses before and after, and the curves of all adapters."""
    names = list(adapters.adapters)
    before, after = adapters.before, adapters.after
    pairs = ", with their own truth" if adapters.targets == "shuffled" else ""
    terms = _terms(before, after)
    rows = [
        [
            name,
            *(f"{of(before[term])} → {of(after[term])}" for term in terms.values()),
            f"{of(before['loss'])} → {of(after['loss'])}",
            _better(before["loss"][i], after["loss"][i]),
        ]
        for i, name in enumerate(names)
        for of in [lambda values, i=i: f"{values[i].mean():.3f} ± {values[i].std():.3f}"]
    ]
    return Section(
        "Training",
        [
            training_verdict(adapters),
            Table(
                ["adapter", *terms, "training loss", "scenes improved"],
                rows,
                f"On the held-out scenes of the adapter's own data set{pairs}, mean ± spread over the scenes: the base model → "
                f"with the adapter. {_TERMS_MEAN} The training loss contains −log of the confidence, so a share of it means "
                f"nothing.",
            ),
            plot(
                svg(_draw_curves(read_metrics(adapters.folder / METRICS), names)),
                "Loss of every adapter. Thin: each training step, smoothed over 2 % of the steps. Dots: held-out "
                f"scenes{pairs}.",
            ),
        ],
    )


def training_verdict(trained: Adapters) -> str:
    """What the adapters learned for scenes that they have not seen, and whether they are a control."""
    words = learned(trained.before, trained.after, trained.targets)
    shares = [adapter.about[KEPT] for adapter in trained.adapters.values() if KEPT in adapter.about]
    return f"{words} {energy_kept(shares)}" if shares else words


def energy_kept(shares: Sequence[float]) -> str:
    """How well updates of full rank are described by what is kept of them, which is what is mined.

    Args:
        shares: of each adapter's energy.
    """
    ends = dict.fromkeys(f"{share:.1%}" for share in (min(shares), max(shares)))
    return (
        f"Mined are the updates' best approximations of the stated rank, which keep {' to '.join(ends)} of their energy; the "
        "errors are of the whole updates."
    )


def learned(before: Losses, after: Losses, targets: Targets) -> str:
    """What the adapters learned for scenes that they have not seen, and whether they are a control.

    Args:
        before: name of a loss or term → its values (k, scenes) of the base model.
        after: the same with the adapters.
        targets: what the adapters were trained towards.
    """
    lower = after["loss"].mean(axis=1) < before["loss"].mean(axis=1)
    errors = [
        f"{name} {before[term].mean():.3f} → {after[term].mean():.3f}" for name, term in _terms(before, after).items()
    ]
    words = (
        f"On held-out scenes of its own data set, {np.count_nonzero(lower)} of {len(lower)} adapters have a lower loss than "
        "the base model"
    )
    words += f"; mean errors: {', '.join(errors)}." if errors else "."
    if targets == "shuffled":
        return f"A control: trained on images with the truth of other scenes, measured on true pairs. {words}"
    return words


def _terms(before: Losses, after: Losses) -> dict[str, str]:
    return {name: term for name, term in _TERMS.items() if term in before and term in after}


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
