"""The largest singular value of every shared subspace, against NumPy's SVD of the dense weighted mean."""

import numpy as np
import pytest

from experiments.analysis.magnitudes import (
    KindSummary,
    Magnitudes,
    depth_of_peaks,
    magnitude_rows,
    magnitudes_in_words,
    magnitudes_section,
    measure_magnitudes,
    summary_of_kinds,
)
from experiments.analysis.matrices import Matrix
from experiments.mining.folder import read_inputs
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, write_run

QKV, HEAD = "aggregator.frame_blocks.attn.qkv", "depth_head.conv"
SMALL = Magnitudes(
    ["texture", "camera"],
    [*(Matrix(QKV, layer, 8, 8, 2) for layer in range(3)), Matrix(HEAD, None, 8, 8, 2)],
    np.array([[1.0, 3.0, 2.0, 5.0], [2.0, 2.0, 8.0, 5.0]]),
)


def test_magnitudes_equal_a_dense_svd(tmp_path):
    folders = [
        write_run(tmp_path / name, name, draw_adapters(seed, draw_subspaces(seed))) for seed, name in enumerate("ab")
    ]
    inputs = read_inputs(folders)
    found = measure_magnitudes(inputs)
    for a, mined in enumerate(inputs.attributes.values()):
        adapters = [mined.read_adapter(i) for i in range(4)]
        for i, matrix in enumerate(found.matrices):
            layer = () if matrix.layer is None else (matrix.layer,)
            updates = [x[matrix.path].A[layer] @ x[matrix.path].B[layer].T for x in adapters]
            C = np.tensordot(mined.statistics[matrix.path]["weights"][layer], np.array(updates), 1)
            assert found.sigma[a, i] == pytest.approx(np.linalg.norm(C, 2), rel=1e-4)
            subspace = mined.factors[matrix.path]
            shared = np.linalg.norm(subspace.A[layer] @ subspace.B[layer].T, 2)
            assert found.sigma[a, i] == pytest.approx(shared, rel=1e-4)


def test_rows_and_summaries():
    rows = magnitude_rows(SMALL)
    assert [row.sigma_max for row in rows] == SMALL.sigma.ravel().tolist() and rows[3].layer is None
    assert summary_of_kinds(SMALL)[0] == KindSummary("frame qkv", 3, [2.0, 2.0])
    peaks = depth_of_peaks(SMALL)
    assert len(peaks) == 2 and (peaks[0].largest, peaks[0].largest_layer) == (3.0, 1)
    assert (peaks[1].first, peaks[1].last, peaks[1].largest_layer) == (2.0, 8.0, 2)
    assert SMALL.attribute_spread == np.median([2, 1.5, 4, 1]) and SMALL.layer_spread == np.median([3, 4])


def test_words():
    words = magnitudes_in_words(SMALL)
    assert "The largest of all is camera's in layer 2 of frame qkv (8)." in words
    assert "1.8 times that of the smallest (median); over the layers of a kind, the largest is 3.5 times" in words
    zero = Magnitudes(SMALL.names, SMALL.matrices, np.zeros((2, 4)))
    assert "times" not in magnitudes_in_words(zero) and magnitudes_section(zero).figures


def test_the_figure_has_one_curve_for_each_attribute_in_each_kind():
    figure, _ = magnitudes_section(SMALL).figures["magnitudes"]
    assert [panel.get_title() for panel in figure.axes] == ["frame qkv (3)", "depth head, other (1)"]
    for a in range(2):
        np.testing.assert_array_equal(figure.axes[0].lines[a].get_ydata(), SMALL.sigma[a, :3])
        np.testing.assert_array_equal(figure.axes[1].lines[a].get_ydata(), SMALL.sigma[a, 3:])
    low, high = figure.axes[0].get_ylim()
    assert low < 1 and high > 8
    assert figure.legends[0].get_texts()[1].get_text() == "camera"
