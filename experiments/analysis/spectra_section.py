"""Spectra of C as a section of the report: headings, captions, files and figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.analysis.panels import curves_of_attributes
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.analysis.spectra import (
    SMALL,
    AttributeSpectra,
    PatternDepth,
    SingularValueRow,
    Spectra,
    SpectrumRow,
    depth_of_patterns,
    singular_value_rows,
    spectrum_rows,
    summary_of_attributes,
)
from experiments.mining.figures import PATTERN_COLORS, PATTERN_NAMES, Spectrum, draw_spectra
from experiments.mining.summary import by_group
from experiments.reports.page import Table
from experiments.reports.panels import CHANCE
from subspace import Pattern
from subspace.spectra import SMALLEST_DROP, TIMES_TYPICAL

_RULE = (
    f"A drop is a step of at least {SMALLEST_DROP:g} decades and {TIMES_TYPICAL:g} times the median step around it, at r if "
    "it is within r/8 of it."
)
_SPECTRA: Columns[SpectrumRow] = (
    ("attribute", lambda row: row.attribute),
    *OF_MATRIX,
    ("r", lambda row: row.rank),
    ("dim", lambda row: row.dim),
    ("pattern", lambda row: row.pattern.name.lower()),
    ("drop at r after", lambda row: row.drop_after),
    ("drop at r, decades", lambda row: row.drop),
    ("later drop after", lambda row: row.later_drop_after),
    ("later drop, decades", lambda row: row.later_drop),
    ("sigma 2d' / sigma max", lambda row: row.ratio),
    ("sigma max", lambda row: row.sigma_max),
)
_VALUES: Columns[SingularValueRow] = (
    ("attribute", lambda row: row.attribute),
    *OF_MATRIX,
    ("index", lambda row: row.index),
    ("singular value", lambda row: row.value),
)
_ATTRIBUTES: Columns[AttributeSpectra] = (
    ("attribute", lambda row: row.attribute),
    ("spectra", lambda row: sum(row.counts.values())),
    *((pattern.name.lower(), lambda row, pattern=pattern: row.counts[pattern]) for pattern in Pattern),
    ("median drop at r, decades", lambda row: row.drop),
    ("median later drop, decades", lambda row: row.later_drop),
    ("median sigma 2d' / sigma max", lambda row: row.ratio),
    ("sigma 2d' small", lambda row: row.small),
)
_SHOWN: Columns[AttributeSpectra] = (
    ("attribute", lambda row: row.attribute),
    *((PATTERN_NAMES[pattern], lambda row, pattern=pattern: row.counts[pattern]) for pattern in PATTERN_NAMES),
    ("decades at r", lambda row: row.drop),
    ("beyond", lambda row: row.later_drop),
    ("σ_2d'/σ_max", lambda row: row.ratio),
    (f"< {SMALL:g}", lambda row: row.small),
)
_DEPTH: Columns[PatternDepth] = (
    ("pattern", lambda row: row.pattern.name.lower()),
    ("spectra", lambda row: row.count),
    ("of", lambda row: row.total),
    ("layers", lambda row: ranges(row.layers)),
    ("median layer", lambda row: row.median_layer),
)


def spectra_section(spectra: Spectra) -> Section:
    """What the spectra say about agreement of the adapters (Sec. 4.2, Figs. 2, 4, S3–S34)."""
    attributes, depth = summary_of_attributes(spectra), depth_of_patterns(spectra)
    drawn = sorted({init or "unknown" for init in spectra.inits})
    text: list[str | Table] = [
        "C is the mean of an attribute's adapters, in the first IRLS iteration. If all agree in a matrix, its singular values "
        "fall behind the rank r of a single adapter; if each also keeps something of its own, they fall later, twice, or "
        f"never. {counts_in_words(spectra)}",
        table(
            attributes,
            _SHOWN,
            "Matrices of each pattern; median size of the drops in decades; median of σ_2d'/σ_max, and matrices in which it is "
            f"below {SMALL:g}. C has fewer than 2d' singular values in {int(np.isnan(spectra.ratios[0]).sum())} matrices.",
        ),
    ]
    if depth[0].total:
        text.append(depth_in_words(depth))
    text.append(
        f"Input factors drawn: {', '.join(drawn)}. Where all adapters start from one shared random input factor, a drop at r "
        "may be that factor's; controls tell."
    )
    return Section(
        title="Spectra",
        text=text,
        figures=_figures(spectra),
        sheets={
            "spectra": sheet(spectrum_rows(spectra), _SPECTRA),
            "singular_values": sheet(singular_value_rows(spectra), _VALUES),
        },
        numbers={
            "attributes": sheet(attributes, _ATTRIBUTES).records(),
            "layers of the blocks": sheet(depth, _DEPTH).records(),
        },
    )


def counts_in_words(spectra: Spectra) -> str:
    """How many spectra have which pattern, and how many have fallen to nothing at 2d'."""
    counts = [f"{(spectra.codes == p).sum():,} have {PATTERN_NAMES[p]}" for p in Pattern]
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


def depth_in_words(depth: Sequence[PatternDepth]) -> str:
    """Which layers of the blocks have which pattern, beside the paper's."""
    found = "; ".join(
        f"{PATTERN_NAMES[row.pattern]}: {row.count:,}" + (f", in layers {ranges(row.layers)}" if row.count else "")
        for row in depth
    )
    return (
        "Depth, frame and global blocks: the paper sees no drop in layers 1–3 of VGGT's 24, a drop beyond r in layers 4–7, two "
        f"in layers 12–17, a drop at r in deep layers. Here, of {depth[0].total:,} spectra (layers counted from 0), {found}."
    )


def ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers in words: 0, 1, 2 and 5 are "0–2, 5"; nothing is "–"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "–"


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
                matrix.path,
                spectra.sigma[a][i],
                int(spectra.ranks[a, i]),
                spectra.pattern(a, i),
                spectra.drops(a, i),
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
    colors = ListedColormap([PATTERN_COLORS[pattern] for pattern in Pattern])
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
