"""The page that ``experiments.extract`` ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from experiments.mining.figures import Spectrum, draw_energy, draw_spectra, draw_weights
from experiments.mining.mine import Mined
from experiments.mining.summary import MatrixSummary, short_table
from experiments.reports.page import Figure, Section, Table, render
from subspace import Pattern

_CLEARLY_MORE = 3.0
"""Held-out energy below this many times chance is called chance."""


def verdict(summaries: Sequence[MatrixSummary]) -> str:
    """One sentence: do the adapters share a subspace, measured by adapters that had no say in it?"""
    measured = [row for row in summaries if row.held_out is not None]
    if not measured:
        return "With two adapters nothing can be held out: whether they share a subspace was not tested."
    above = [row for row in measured if row.held_out is not None and row.held_out > _CLEARLY_MORE * row.chance]
    held_out = float(np.median([row.held_out for row in measured if row.held_out is not None]))
    chance = float(np.median([row.chance for row in measured]))
    figures = (
        f"a held-out adapter has a median {held_out:.1%} of its energy in the subspace of the others, "
        f"where a random subspace of this size captures {chance:.2%}"
    )
    share = len(above) / len(measured)
    if share < 0.1:
        return f"The adapters share next to nothing: {figures}."
    return f"In {len(above)} of {len(measured)} matrices the adapters share more than chance: {figures}."


def print_table(summaries: Sequence[MatrixSummary]) -> str:
    """The short table for the terminal, one line per kind of matrix."""
    lines = [f"{'matrices':<22} {'count':>5}  {'pattern':<18} {'captured':>9} {'held out':>9} {'chance':>9}"]
    for line in short_table(summaries):
        held_out = "–" if line["held_out"] is None else f"{line['held_out']:.1%}"
        lines.append(
            f"{line['matrices']:<22} {line['count']:>5}  {line['pattern']:<18} {line['captured']:>9.1%} {held_out:>9} "
            f"{line['chance']:>9.2%}"
        )
    return "\n".join(lines)


def draw_figures(
    adapters: Sequence[str], mined: Mined, summaries: Sequence[MatrixSummary]
) -> dict[str, tuple[Drawing, str]]:
    """The figures by file name, each with its caption; ``adapters`` are the names in the order of the weights."""
    sigma = {path: np.asarray(found.initial_singular_values) for path, found in mined.subspaces.items()}
    spectra = [
        Spectrum(
            each.path,
            sigma[each.path] if each.layer is None else sigma[each.path][each.layer],
            each.rank,
            Pattern[each.pattern.upper()],
            each.drops,
        )
        for each in summaries
    ]
    return {
        "energy": (
            draw_energy(summaries),
            "Share of an adapter's energy that lies in the shared subspace, over the layers. Black: the adapter had a say in "
            "it. Red: it was left out of the IRLS. Dotted: a random subspace of the same size.",
        ),
        "spectra": (
            draw_spectra(spectra),
            "Singular values of C, the mean of the adapters' updates (first IRLS iteration), on a log scale. One curve per "
            "matrix, coloured by the detected pattern; dots mark the detected drops. A drop at r may also come from one "
            "random draw of the input factors for all adapters: see how they were initialised, below.",
        ),
        "weights": (
            draw_weights(adapters, summaries),
            "k · w_i after IRLS (Eq. 2), one row per matrix. 1 (white): an equal say. Red: hardly believed, an outlier. Blue: "
            "the others follow it.",
        ),
    }


def compose(
    title: str,
    summaries: Sequence[MatrixSummary],
    figures: Mapping[str, Figure],
    before: Sequence[Section],
    facts: Mapping[str, str],
) -> str:
    """The report as HTML.

    Args:
      title: of the page.
      summaries: what was found, :func:`experiments.mining.summary.rows`.
      figures: those of :func:`draw_figures`, as parts of the page.
      before: sections on data and training, which come first.
      facts: settings and versions.
    """
    table = Table(
        ["matrices", "count", "pattern", "captured", "held out", "chance", "lowest k · weight"],
        [
            [
                line["matrices"],
                str(line["count"]),
                line["pattern"],
                f"{line['captured']:.1%}",
                "–" if line["held_out"] is None else f"{line['held_out']:.1%}",
                f"{line['chance']:.2%}",
                f"{line['lowest_weight']:.2f}",
            ]
            for line in short_table(summaries)
        ],
        "Medians over the matrices of a kind. Captured: share of an adapter's energy ‖dW‖² in the subspace that it helped "
        "to find. Held out: in the subspace of the other adapters. Chance: d'²/(n·m). Pattern: the commonest (Fig. 4).",
    )
    sections = [
        *before,
        Section("What the adapters share", [table, figures["energy"]]),
        Section("Spectra", [figures["spectra"]]),
        Section("Weight of each adapter", [figures["weights"]]),
    ]
    return render(title, verdict(summaries), sections, facts)
