"""Pages about collections of LoRAs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from matplotlib.figure import Figure as Drawing

from experiments.loras.collection import Collection
from experiments.loras.same_start import described
from experiments.loras.similarity import NEAR_DUPLICATE, Similarity
from experiments.mining.mine import Mined
from experiments.mining.report import compose, draw_figures
from experiments.mining.summary import MatrixSummary
from experiments.reports.drawings import drawn_name, save_drawings
from experiments.reports.page import Section, Table, plot, render

SHOWN = 40
"""LoRAs that a table shows; of more, the first and the last half of so many."""


@dataclass(frozen=True)
class LoraRow:
    """One LoRA of a collection, means over its matrices."""

    name: str
    norm: float
    """‖dW‖ of all matrices together."""
    weight: float
    """Median of k · w_i: 1 is an equal say, near 0 an outlier."""
    captured: float
    """Mean share of its energy in the subspace."""
    held_out: float | None
    """Mean share of its energy in the subspace of the others, without it."""


@dataclass(frozen=True, eq=False)
class Group:
    """What a page says of LoRAs beside their subspace."""

    names: tuple[str, ...]
    """Of all LoRAs."""
    owners: Mapping[str, tuple[str, ...]]
    """Matrix → the LoRAs that have it."""
    norms: Mapping[str, Mapping[str, float]]
    """LoRA → matrix → ‖dW‖."""
    base: str | None
    """Name of the base model."""
    same_start: tuple[tuple[str, ...], ...]
    """Groups of LoRAs whose input factors are nearly the same, as after one random draw."""
    remarks: tuple[str, ...]
    """What was left out."""

    @classmethod
    def of(cls, found: Collection) -> Self:
        """Of LoRAs that are at hand."""
        return cls(tuple(found.loras), found.owners, found.norms, found.base, found.same_start, found.remarks)


def ranked(collection: Group, matrices: Sequence[MatrixSummary]) -> list[LoraRow]:
    """Every LoRA, the one that the others describe worst first."""
    values: dict[str, list[tuple[float, float, float]]] = {name: [] for name in collection.names}
    for row in matrices:
        owners = collection.owners[row.path]
        held_out = row.held_out_each or (np.nan,) * len(owners)
        for name, weight, captured, held in zip(owners, row.weights, row.captured, held_out, strict=True):
            values[name].append((weight * len(owners), captured, held))
    found = []
    for name, own in values.items():
        weight, captured, held = np.array(own, float).reshape(-1, 3).T
        norm = float(np.sqrt(sum(x**2 for x in collection.norms[name].values())))
        known = held[~np.isnan(held)]
        share = float(known.mean()) if known.size else None
        found.append(LoraRow(name, norm, float(np.median(weight)), float(captured.mean()), share))
    return sorted(found, key=lambda row: row.captured if row.held_out is None else row.held_out)


def write_report(
    folder: Path,
    label: str,
    collection: Group,
    mined: Mined,
    matrices: Sequence[MatrixSummary],
    seconds: float,
) -> None:
    """Write ``report.html`` and ``figures``."""
    figures = draw_figures(collection.names, mined, matrices)
    (folder / "figures").mkdir()
    svgs = save_drawings(folder / "figures", {name: drawing for name, (drawing, _) in figures.items()})
    shown = {name: plot(svgs[name], caption) for name, (_, caption) in figures.items()}
    table = Table(
        ["LoRA", "‖dW‖", "k · weight", "captured", "held out"],
        _ends([_cells(row) for row in ranked(collection, matrices)]),
        "Worst described first. k · weight: median over the matrices, 1 is an equal say. Captured, held out: mean share of "
        "its energy in the subspace of all and in that of the others.",
    )
    before = [Section("The LoRAs", [*remarks_of(collection), table])]
    facts = {
        "label": label,
        "base model": collection.base or "not recorded, or several",
        "k": str(len(collection.names)),
        "matrices": str(len(collection.owners)),
        "seconds": f"{seconds:.0f}",
    }
    html = compose(f"What {len(collection.names)} LoRAs share: {label}", matrices, shown, before, facts)
    (folder / "report.html").write_text(html, encoding="utf-8")


def remarks_of(collection: Collection | Group) -> list[str]:
    """What was left out, and what the reader must know before the figures mean anything."""
    said = [described(group) for group in collection.same_start]
    return [*said, *(f"{remark[0].upper()}{remark[1:]}." for remark in collection.remarks)]


def _cells(row: LoraRow) -> list[str]:
    held_out = "–" if row.held_out is None else f"{row.held_out:.1%}"
    return [row.name, f"{row.norm:.3g}", f"{row.weight:.2f}", f"{row.captured:.1%}", held_out]


def _ends(table: list[list[str]]) -> list[list[str]]:
    if len(table) <= SHOWN:
        return table
    left_out = [f"… {len(table) - SHOWN} more", *[""] * (len(table[0]) - 1)]
    return [*table[: SHOWN // 2], left_out, *table[-SHOWN // 2 :]]


def similarity_lines(found: Similarity) -> list[str]:
    """The result of a comparison in short."""
    off = ~np.eye(len(found.names), dtype=bool)
    lines = [
        f"cosine of dW, median over the pairs: {np.median(found.cosine[off]):.3f} "
        f"(from {found.cosine[off].min():.3f} to {found.cosine[off].max():.3f})",
        f"outputs overlap by {np.median(found.output_overlap[off]):.1%} (by chance {found.output_chance:.1%}), "
        f"inputs by {np.median(found.input_overlap[off]):.1%} (by chance {found.input_chance:.1%})",
    ]
    lines += [
        f"nearly the same: {a} and {b} (cosine {cosine:.4f})" for a, b, cosine in found.pairs_above(NEAR_DUPLICATE)[:10]
    ]
    lines += [
        f"cluster of {len(group)}: {', '.join(group[:8])}{' …' if len(group) > 8 else ''}"
        for group in found.clusters[:10]
    ]
    return lines + [f"outlier, unlike the others: {name}" for name in found.outliers]


def comparison_page(found: Similarity, remarks: Sequence[str], figures: Mapping[str, str]) -> str:
    """The page of a comparison; ``figures`` are SVGs of :func:`draw_similarity`."""
    order = np.argsort(found.mean_cosine)
    table = Table(
        ["LoRA", "mean cosine", "most alike", "cosine"],
        _ends([_alike(found, i) for i in order]),
        "Least like the others first.",
    )
    captions = {
        "cosine": "Cosine of dW of every pair.",
        "output_overlap": f"Overlap of the column spaces (by chance {found.output_chance:.1%}).",
        "input_overlap": f"Overlap of the row spaces (by chance {found.input_chance:.1%}).",
    }
    first, *others = similarity_lines(found)
    parts = [*remarks, *others, table, *(plot(svg, captions[name]) for name, svg in figures.items())]
    return render("Which LoRAs are alike", first, [Section("Pairs", parts)], {"k": str(len(found.names))})


def _alike(found: Similarity, i: int) -> list[str]:
    others = np.where(np.arange(len(found.names)) == i, -2, found.cosine[i])
    best = int(np.argmax(others))
    return [found.names[i], f"{found.mean_cosine[i]:.3f}", found.names[best], f"{others[best]:.3f}"]


def draw_similarity(found: Similarity) -> dict[str, Drawing]:
    """A picture of each matrix of pairs; names where there is room."""
    drawings = {}
    for name in ("cosine", "output_overlap", "input_overlap"):
        figure = Drawing(figsize=(6, 5), layout="constrained")
        panel = figure.subplots()
        low = -1 if name == "cosine" else 0
        colors = "RdBu" if low else "viridis"
        image = panel.imshow(getattr(found, name), vmin=low, vmax=1, cmap=colors, interpolation="nearest")
        if len(found.names) <= SHOWN:
            labels = [drawn_name(name) for name in found.names]
            panel.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
            panel.set_yticks(range(len(labels)), labels, fontsize=6)
        else:
            panel.set_xticks([])
            panel.set_yticks([])
        figure.colorbar(image, ax=panel)
        drawings[name] = figure
    return drawings
