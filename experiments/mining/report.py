"""The page that ``experiments.extract`` ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from experiments.mining.figures import PATTERN_NAMES, Spectrum, draw_energy, draw_spectra, draw_weights
from experiments.mining.mine import Mined
from experiments.mining.summary import KindSummary, MatrixSummary, by_kind, sharing
from experiments.reports.page import Figure, Section, Table, render
from subspace import Pattern
from subspace.stability import FOLDS, LEAVE_ONE_OUT


def verdict(matrices: Sequence[MatrixSummary]) -> str:
    """One sentence: do the adapters share a subspace, measured by adapters that had no say in it?"""
    found = sharing(matrices)
    if found is None:
        return "With two adapters nothing can be held out: whether they share a subspace was not tested."
    many = len(matrices[0].weights) > LEAVE_ONE_OUT
    figures = (
        f"a held-out adapter has {found.held_out:.1%} of its energy in the subspace of the others "
        f"(median over matrices, both sides), where a random subspace of this size captures {found.chance:.2%}"
        + (f" (adapters were held out in {FOLDS} groups)" if many else "")
    )
    if found.above_chance / found.matrices < 0.1:
        return f"The adapters share next to nothing: {figures}."
    return f"In {found.above_chance} of {found.matrices} matrices the adapters share more than chance: {figures}."


def print_table(matrices: Sequence[MatrixSummary]) -> str:
    """The short table for the terminal, one line per kind of matrix."""
    lines = [f"{'matrices':<22} {'count':>5}  {'pattern':<22} {'captured':>9} {'held out':>9} {'chance':>9}"]
    for kind in by_kind(matrices):
        held_out = "–" if kind.held_out is None else f"{kind.held_out:.1%}"
        lines.append(
            f"{kind.kind:<22} {kind.count:>5}  {_pattern(kind):<22} {kind.captured:>9.1%} {held_out:>9} {kind.chance:>9.2%}"
        )
    return "\n".join(lines)


def _pattern(kind: KindSummary) -> str:
    if kind.pattern is None:
        return "–"
    return f"{PATTERN_NAMES[Pattern[kind.pattern.upper()]]} {kind.with_pattern}/{kind.count}"


def draw_figures(
    adapters: Sequence[str], mined: Mined, matrices: Sequence[MatrixSummary]
) -> dict[str, tuple[Drawing, str]]:
    """The figures by file name, each with its caption; ``adapters`` are the names in the order of the weights."""
    sigma = {path: np.asarray(found.initial_singular_values) for path, found in mined.subspaces.items()}
    spectra = [
        Spectrum(
            each.path,
            sigma[each.path] if each.layer is None else sigma[each.path][each.layer],
            each.rank,
            Pattern.NONE if each.pattern is None else Pattern[each.pattern.upper()],
            each.drops,
        )
        for each in matrices
    ]
    return {
        "energy": (
            draw_energy(matrices),
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
            draw_weights(adapters, matrices),
            "k · w_i after IRLS (Eq. 2), one row per matrix (of many: how often each occurs). 1 (white): an equal say. "
            "Near 0 (red): hardly believed, an outlier. Above 1 (blue): the others follow it.",
        ),
    }


def compose(
    title: str,
    matrices: Sequence[MatrixSummary],
    figures: Mapping[str, Figure],
    before: Sequence[Section],
    facts: Mapping[str, str],
) -> str:
    """The report as HTML.

    Args:
      title: of the page.
      matrices: what was found, :func:`experiments.mining.summary.rows`.
      figures: those of :func:`draw_figures`, as parts of the page.
      before: sections on data and training, which come first.
      facts: settings and versions.
    """
    table = Table(
        ["matrices", "count", "pattern", "captured", "held out", "chance", "lowest k · weight"],
        [
            [
                kind.kind,
                str(kind.count),
                _pattern(kind),
                f"{kind.captured:.1%}",
                "–" if kind.held_out is None else f"{kind.held_out:.1%}",
                f"{kind.chance:.2%}",
                f"{kind.lowest_weight:.2f}",
            ]
            for kind in by_kind(matrices)
        ],
        "Medians over the matrices of a kind. Captured: share of an adapter's energy ‖dW‖² in the subspace that it helped "
        "to find. Held out: in the subspace of the others, without the adapter. Chance: d²/(n·m), where d is d', or "
        "what the others can span if that is less. Pattern: the commonest (Fig. 4).",
    )
    sections = [
        *before,
        Section("What the adapters share", [table, figures["energy"]]),
        Section("Spectra", [figures["spectra"]]),
        Section("Weight of each adapter", [figures["weights"]]),
    ]
    return render(title, verdict(matrices), sections, facts)
