"""The angles as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.analysis.angle_figures import angle_figures
from experiments.analysis.angles import VERDICTS, Angles, angle_rows, eigenvalue_rows, summary_of_pairs
from experiments.analysis.overlap import LEVEL, SAMPLES
from experiments.analysis.topic import Row, Topic
from experiments.reports.page import Table


def angle_topic(angles: Angles) -> Topic:
    """Overlap of all pairs on both sides against random subspaces (Sec. 4.3, Fig. 6, S35–S40)."""
    summary = summary_of_pairs(angles)
    return Topic(
        "Angles between attributes",
        [
            "The overlap of two subspaces is the mean squared cosine of their principal angles: the share of one that lies in "
            "the other, 0 to 1. The paper's eigenvalues (Eq. 5) are 1 ± cos θ, so the overlap is also their mean squared "
            "distance from 1; Eq. 4's distance is the smallest of them and sees one pair of directions only. In spaces of "
            "many dimensions random subspaces are nearly orthogonal, so that an eigenvalue above 0.5 says nothing by "
            f"itself: each overlap is compared with {SAMPLES:,} random pairs of the same dimensions, and differs from chance "
            f"if it lies in a tail at a false discovery rate of {LEVEL:.0%} (Benjamini–Hochberg, all pairs and matrices of "
            "a side together).",
            _table(summary),
        ],
        angle_figures(angles),
        {
            "angles": list(angle_rows(angles)),
            "eigenvalues": list(eigenvalue_rows(angles)),
            "pairs": summary,
        },
        summary,
    )


def _table(summary: Sequence[Row]) -> Table:
    more, like, less = VERDICTS.values()
    rows = [
        [
            row["side"],
            f"{row['first']} – {row['second']}",
            *(str(row[words]) for words in (more, like, less)),
            f"{row['median overlap']:.3g}",
            f"{row['median overlap / chance']:.2f}",
            f"{row['median distance (Eq. 4)']:.2f}",
            f"{row['median smallest angle in degrees']:.0f}°",
        ]
        for row in summary
    ]
    return Table(
        ["side", "pair", "aligned", "as chance", "orthogonal", "overlap", "/ chance", "Eq. 4", "θ₁"],
        rows,
        "Matrices that are more aligned than chance, like chance, and more orthogonal than chance; then medians over all "
        "matrices: overlap, how many times that of random subspaces, Eq. 4's distance, smallest principal angle.",
    )
