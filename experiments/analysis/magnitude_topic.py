"""Magnitudes as a section of the report."""

from __future__ import annotations

import numpy as np

from experiments.analysis.magnitudes import (
    Magnitudes,
    depth_of_peaks,
    magnitude_rows,
    spread_of_attributes,
    spread_of_layers,
    summary_of_kinds,
)
from experiments.analysis.panels import curves_of_attributes
from experiments.analysis.topic import Topic, table_of


def magnitude_topic(magnitudes: Magnitudes) -> Topic:
    """The largest singular value of each shared subspace over the layers (Fig. 5)."""
    kinds, peaks = summary_of_kinds(magnitudes), depth_of_peaks(magnitudes)
    figure, _ = curves_of_attributes(magnitudes.matrices, magnitudes.names, magnitudes.sigma, "largest singular value")
    return Topic(
        "Magnitudes",
        [
            "The largest singular value of a shared subspace says how strongly an attribute's adapters change a matrix "
            f"together. {magnitudes_in_words(magnitudes)}",
            table_of(kinds, "Largest singular value of the shared subspace, median over the matrices of a kind."),
        ],
        {
            "magnitudes": (
                figure,
                "Largest singular value of each shared subspace (of C for the final weights of IRLS, Eq. 2–3) over the layers, "
                "one curve for each attribute, on a log scale that all panels share.",
            )
        },
        {"magnitudes": list(magnitude_rows(magnitudes))},
        {"kinds": kinds, "layers": peaks},
    )


def magnitudes_in_words(magnitudes: Magnitudes) -> str:
    """The largest of all, and whether attributes or layers differ more."""
    a, i = np.unravel_index(int(magnitudes.sigma.argmax()), magnitudes.sigma.shape)
    matrix = magnitudes.matrices[i]
    place = matrix.path if matrix.layer is None else f"layer {matrix.layer} of {matrix.group}"
    sentences = [f"The largest of all is {magnitudes.names[a]}'s in {place} ({magnitudes.sigma[a, i]:.3g})."]
    attributes, layers = spread_of_attributes(magnitudes), spread_of_layers(magnitudes)
    if not np.isnan(attributes):
        sentences.append(
            f"In the same matrix, the attribute with the largest value has {attributes:.2g} times that of the smallest (median)"
            + (
                "."
                if np.isnan(layers)
                else f"; over the layers of a kind, the largest is {layers:.2g} times the smallest."
            )
        )
    return " ".join(sentences)
