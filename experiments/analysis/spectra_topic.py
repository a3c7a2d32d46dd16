"""Spectra of C as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.analysis.matrices import by_group
from experiments.analysis.panels import CHANCE, curves_of_attributes
from experiments.analysis.spectra import (
    SMALL,
    Spectra,
    depth_of_patterns,
    singular_value_rows,
    spectrum_rows,
    summary_of_attributes,
)
from experiments.analysis.topic import Row, Topic, table_of
from experiments.mining.figures import PATTERN_COLORS, PATTERN_NAMES, Spectrum, draw_spectra
from experiments.mining.folder import Inputs
from experiments.reports.page import Table
from subspace import Pattern
from subspace.spectra import SMALLEST_DROP, TIMES_TYPICAL

_RULE = (
    f"A drop is a step of at least {SMALLEST_DROP:g} decades and {TIMES_TYPICAL:g} times the median step around it, at r if "
    "it is within r/8 of it."
)


def spectra_topic(spectra: Spectra, inputs: Inputs) -> Topic:
    """What the spectra say about agreement of the adapters (Sec. 4.2, Figs. 2, 4, S3–S34)."""
    summary, depth = summary_of_attributes(spectra), depth_of_patterns(spectra)
    drawn = sorted({mined.origin.init or "unknown" for mined in inputs.attributes.values()})
    text: list[str | Table] = [
        "C is the mean of an attribute's adapters, in the first IRLS iteration. If all agree in a matrix, its singular values "
        "fall behind the rank r of a single adapter; if each also keeps something of its own, they fall later, twice, or "
        f"never. {counts_in_words(spectra)}",
        table_of(
            summary,
            "Matrices of each pattern; median size of the drops in decades; median of σ_2d'/σ_max, and matrices in which it is "
            f"below {SMALL:g}. C has fewer than 2d' singular values in {int(np.isnan(spectra.ratios[0]).sum())} matrices.",
            {
                "attribute": "attribute",
                **PATTERN_NAMES,
                "median drop at r, decades": "decades at r",
                "median later drop, decades": "beyond",
                "median sigma 2d' / sigma max": "σ_2d'/σ_max",
                "sigma 2d' small": f"< {SMALL:g}",
            },
        ),
    ]
    if depth[0]["of"]:
        text.append(depth_in_words(depth))
    text.append(
        f"Input factors drawn: {', '.join(drawn)}. Where all adapters start from one shared random input factor, a drop at r "
        "may be that factor's; controls tell."
    )
    return Topic(
        "Spectra",
        text,
        _figures(spectra),
        {"spectra": list(spectrum_rows(spectra)), "singular_values": list(singular_value_rows(spectra))},
        {"attributes": summary, "layers of the blocks": depth},
    )


def counts_in_words(spectra: Spectra) -> str:
    """How many spectra have which pattern, and how many have fallen to nothing at 2d'."""
    counts = [f"{(spectra.codes == p).sum():,} have {PATTERN_NAMES[p.name.lower()]}" for p in Pattern]
    ratios = spectra.ratios[~np.isnan(spectra.ratios)]
    small = ""
    if ratios.size:
        small = (
            f" σ_2d'/σ_max is below {SMALL:g}, as in the paper, in {(ratios < SMALL).sum():,} of {ratios.size:,} (median "
            f"{np.median(ratios):.2g})."
        )
    return (
        f"Of {spectra.codes.size:,} spectra ({len(spectra.names)} attributes × {len(spectra.matrices)} matrices) "
        f"{', '.join(counts[1:])}, and {counts[0]}.{small}"
    )


def depth_in_words(depth: Sequence[Row]) -> str:
    """Which layers of the blocks have which pattern, beside the paper's."""
    found = "; ".join(
        f"{PATTERN_NAMES[row['pattern']]}: {row['spectra']:,}"
        + (f", in layers {row['layers']}" if row["spectra"] else "")
        for row in depth
    )
    return (
        "Depth, frame and global blocks: the paper sees no drop in layers 1–3 of VGGT's 24, a drop beyond r in layers 4–7, two "
        f"in layers 12–17, a drop at r in deep layers. Here, of {depth[0]['of']:,} spectra (layers counted from 0), {found}."
    )


def _figures(spectra: Spectra) -> dict[str, tuple[Figure, str]]:
    figures = {
        "spectra_patterns": (
            _draw_map(spectra),
            "The pattern of C's first spectrum in every matrix of every attribute: kinds of matrix over layers (for kinds that "
            f"are not stacked: over matrices). {_RULE}",
        ),
        "spectra_ratio": (
            _draw_ratios(spectra),
            "What is left at twice the subspace's dimension: singular value 2d' of C in the first IRLS iteration over the "
            f"largest, one curve for each attribute. Dotted: {SMALL:g}, below which the paper finds it. Matrices with fewer "
            "singular values are left out.",
        ),
    }
    for a, name in enumerate(spectra.names):
        curves = [
            Spectrum(
                matrix.group,
                spectra.sigma[a][i],
                int(spectra.ranks[a, i]),
                spectra.pattern(a, i),
                (int(spectra.positions[a, i, 0]), int(spectra.positions[a, i, 1])),
            )
            for i, matrix in enumerate(spectra.matrices)
        ]
        figures[f"spectra_{name}"] = (
            draw_spectra(curves),
            f"{name.capitalize()}: singular values of C in the first IRLS iteration (mean of the adapters' updates) on a log "
            "scale, one curve for each layer, coloured by the detected pattern; dots mark the drops. Values within float32's "
            "rounding of the largest are left out.",
        )
    return figures


def _draw_ratios(spectra: Spectra) -> Figure:
    figure, panels = curves_of_attributes(spectra.matrices, spectra.names, spectra.ratios, "σ_2d' / σ_max")
    for panel in panels.values():
        panel.axhline(SMALL, color=CHANCE, ls=":", lw=0.9)
    shared = panels["", spectra.matrices[0].group]
    shared.set_ylim(min(shared.get_ylim()[0], SMALL / 1.5))
    return figure


def _draw_map(spectra: Spectra) -> Figure:
    groups = by_group(spectra.matrices)
    longest = max(len(members) for members in groups.values())
    columns = min(2, len(spectra.names))
    lines = -(-len(spectra.names) // columns)
    figure = Figure(figsize=(6.2 * columns, (0.75 + 0.17 * len(groups)) * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    colors = ListedColormap([PATTERN_COLORS[pattern.name.lower()] for pattern in Pattern])
    for a, name in enumerate(spectra.names):
        shown = np.full((len(groups), longest), np.nan)
        for row, members in enumerate(groups.values()):
            shown[row, : len(members)] = spectra.codes[a, members]
        panel = panels[a]
        panel.pcolormesh(shown, cmap=colors, vmin=-0.5, vmax=len(Pattern) - 0.5, edgecolors="white", linewidth=1)
        panel.invert_yaxis()
        panel.set_yticks(np.arange(len(groups)) + 0.5, list(groups), fontsize=7)
        ticks = np.arange(0, longest, max(1, longest // 12))
        panel.set_xticks(ticks + 0.5, [str(tick) for tick in ticks], fontsize=7)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title(name, fontsize=9, loc="left")
        panel.set_xlabel("layer, or matrix of a kind that is not stacked", fontsize=7, labelpad=1)
    for panel in panels[len(spectra.names) :]:
        panel.remove()
    patches = [Patch(color=PATTERN_COLORS[key], label=words) for key, words in PATTERN_NAMES.items()]
    figure.legend(handles=patches, loc="outside lower center", ncol=len(patches), fontsize=8, frameon=False)
    return figure
