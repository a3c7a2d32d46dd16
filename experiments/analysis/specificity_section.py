"""Where held-out adapters lie, as a section of the report."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.analysis.section import OF_MATRIX, Columns, Section, Sheet, sheet, table
from experiments.analysis.specificity import (
    AdapterRow,
    Inside,
    PartRow,
    ShareRow,
    Shares,
    Specificity,
    adapter_rows,
    part_rows,
    share_rows,
    shares_by_kind,
    whole_shares,
)
from experiments.reports.page import Table

_EVERYTHING = "all matrices"
_INSIDE = {Inside.BOTH: "both", Inside.OUTPUT: "output", Inside.INPUT: "input"}
_TITLES = {Inside.BOTH: "both sides", Inside.OUTPUT: "output side only", Inside.INPUT: "input side only"}
_COLUMNS = 4
_ADAPTERS: Columns[AdapterRow] = (
    ("adapters of", lambda row: row.adapters_of),
    ("adapter", lambda row: row.adapter),
    *OF_MATRIX,
    ("subspace of", lambda row: row.subspace_of),
    *((f"share, {name}", lambda row, inside=inside: row.shares[inside]) for inside, name in _INSIDE.items()),
    ("energy", lambda row: row.energy),
)
_PARTS: Columns[PartRow] = (
    ("adapters of", lambda row: row.adapters_of or "all attributes"),
    ("part", lambda row: row.part),
    ("share of the energy", lambda row: row.energy),
    ("sides", lambda row: _INSIDE[row.inside]),
    ("in its own", lambda row: row.own),
    ("in others", lambda row: row.others),
    ("by chance", lambda row: row.chance),
    ("of what lies in its own", lambda row: row.of_shared),
    ("own is largest", lambda row: row.own_largest),
    ("adapters", lambda row: row.adapters),
)
_ABOUT_PARTS = (
    "The same by part of the model and by side. Share of the energy: of the adapters. In its own, in others: mean over the "
    "held-out adapters of the share of what they have in this part. Of what lies in its own: how much of the whole adapter's "
    "share comes from this part; a part with little energy says little of the whole. Own is largest: adapters that have more "
    "of their energy in this part in their own attribute's subspace than in any other."
)


def specificity_section(found: Specificity) -> Section:
    """A square of attributes: adapters of the row in the subspace of the column."""
    everything, kinds = whole_shares(found), shares_by_kind(found)
    parts = part_rows(found)
    of_each = [row for name in found.names for row in part_rows(found, name)]
    sheets = [_shares_sheet(kind, shares, found.names) for kind, shares in {_EVERYTHING: everything, **kinds}.items()]
    return Section(
        title="Where does a held-out adapter lie?",
        text=[
            "Every adapter was left out once. How much of its energy ‖dW‖² lies in the subspace that the other adapters of its "
            "attribute share, and how much in the subspaces of equally many adapters of the other attributes? If subspaces are "
            "specific to their attributes, the diagonal is the largest of its row. Whole adapters: matrices are weighted by "
            "their energy.",
            _table(everything, found.names),
            table(parts, _PARTS[1:], _ABOUT_PARTS),
        ],
        figures={
            "specificity": (
                _draw(everything, kinds, found.names),
                "Share of the energy of a held-out adapter (row: its attribute) in the subspace of an attribute (column; on "
                "the diagonal mined without it, elsewhere from equally many), mean ± standard deviation over the adapters, in "
                "percent. On a grey ground: what random subspaces of the same size capture. First all matrices, inside on both "
                "sides (UUᵀ dW VVᵀ) and on one only, then each kind of matrix, inside on both sides.",
            )
        },
        sheets={
            "specificity": Sheet(sheets[0].headings, [row for each in sheets for row in each.rows]),
            "specificity_parts": sheet([*parts, *of_each], _PARTS),
            "specificity_adapters": sheet(adapter_rows(found), _ADAPTERS),
        },
        numbers={"attributes": sheets[0].records(), "parts": sheet([*parts, *of_each], _PARTS).records()},
    )


def _shares_sheet(kind: str, shares: Shares, names: list[str]) -> Sheet:
    columns: Columns[ShareRow] = (
        ("matrices", lambda _: kind),
        ("adapters of", lambda row: row.adapters_of),
        ("subspace of", lambda row: row.subspace_of),
        ("sides", lambda row: _INSIDE[row.inside]),
        ("share", lambda row: row.share),
        ("spread", lambda row: row.spread),
        ("chance", lambda row: row.chance),
    )
    return sheet(share_rows(shares, names), columns)


def _table(shares: Shares, names: list[str]) -> Table:
    columns: Columns[int] = (  # of numbers of attributes
        ("held-out adapter of", lambda i: names[i]),
        *(
            (f"in {name}", lambda i, j=j: _percent(shares.mean[i, j, Inside.BOTH], shares.spread[i, j, Inside.BOTH]))
            for j, name in enumerate(names)
        ),
        ("by chance", lambda i: f"{shares.chance[i, Inside.BOTH]:.2%}"),
        ("own is largest", lambda i: f"{shares.own_largest[i, Inside.BOTH]} of {shares.count[i]}"),
    )
    return table(
        range(len(names)),
        columns,
        "Energy inside the subspace on both sides, mean ± standard deviation over the adapters. Own is largest: adapters "
        "that have more of their energy in their own attribute's subspace than in any other.",
    )


def _percent(mean: float, spread: float) -> str:
    digits = 1 if mean >= 0.01 else 2
    return f"{100 * mean:.{digits}f} ± {100 * spread:.{digits}f} %"


def _draw(everything: Shares, kinds: dict[str, Shares], names: list[str]) -> Figure:
    pictures = [(f"{_EVERYTHING},\n{title}", everything, inside) for inside, title in _TITLES.items()]
    pictures += [(kind, shares, Inside.BOTH) for kind, shares in kinds.items()]
    lines = -(-len(pictures) // _COLUMNS)
    side = 0.62 * (len(names) + 1) + 0.6
    figure = Figure(figsize=(side * _COLUMNS, (side + 0.2) * lines), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    smallest = max(1e-5, min(shares.chance[:, c].min() for _, shares, c in pictures))
    for (title, shares, c), panel in zip(pictures, panels, strict=False):
        _square(panel, shares, c, names, smallest)
        panel.set_title(title, fontsize=8)
    for panel in panels[len(pictures) :]:
        panel.remove()
    return figure


def _square(panel: Axes, shares: Shares, c: Inside, names: list[str], smallest: float) -> None:
    norm = LogNorm(smallest, 1, clip=True)
    colors = matplotlib.colormaps["viridis"]
    panel.imshow(np.maximum(shares.mean[:, :, c], smallest), norm=norm, cmap=colors)
    panel.imshow(np.full((len(names), 1), 0.9), extent=(len(names) - 0.5, len(names) + 0.5, len(names) - 0.5, -0.5),
                 cmap="gray", vmin=0, vmax=1)  # fmt: skip
    panel.set_xlim(-0.5, len(names) + 0.5)
    for i in range(len(names)):
        for j in range(len(names)):
            value = shares.mean[i, j, c]
            text = f"{_short(value)}\n± {_short(shares.spread[i, j, c])}"
            dark = norm(max(value, smallest)) < 0.6
            panel.text(j, i, text, ha="center", va="center", fontsize=6.5, color="white" if dark else "black",
                       weight="bold" if i == j else "normal")  # fmt: skip
        panel.text(len(names), i, _short(shares.chance[i, c]), ha="center", va="center", fontsize=6.5, color="black")
    panel.set_xticks(range(len(names) + 1), [*names, "chance"], rotation=35, ha="right", fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def _short(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}" if percent >= 1 else f"{percent:.2g}"
