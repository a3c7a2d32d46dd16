"""Patterns, drops and σ_2d'/σ_max of spectra whose drops are planted, and the curves that show them."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, QuadMesh

from experiments.analysis.spectra import (
    depth_of_patterns,
    measure_spectra,
    singular_value_rows,
    spectrum_rows,
    summary_of_attributes,
)
from experiments.analysis.spectra_section import counts_in_words, depth_in_words, ranges, spectra_section
from experiments.mining.figures import PATTERN_COLORS
from experiments.mining.folder import read_inputs
from subspace import Pattern
from tests.experiments.analysis.planted import (
    SHAPES,
    draw_adapters,
    draw_subspaces,
    factors,
    write_run,
    write_subspace,
)

RANK, DIM, LATER, COUNT = 4, 4, 12, 24
SLOPE, AT, BEYOND = 0.02, 0.8, 0.6
"""Decades from one singular value to the next: everywhere, and further ones in the drops after RANK and LATER."""
QKV, FC1, HEAD = "aggregator.frame_blocks.attn.qkv", "aggregator.global_blocks.mlp.fc1", "camera_head.pose_branch.fc2"
PLANTED = {
    "texture": {QKV: ["none", "beyond_rank", "two_drops", "at_rank"], FC1: ["none"] * 4},
    "camera": {QKV: ["at_rank"] * 4, FC1: ["none", "none", "at_rank", "two_drops"]},
}
HEAD_COUNT = 6
"""Singular values of the head's matrix: fewer than 2d'."""


def _spectrum(pattern, count=COUNT):
    steps = np.full(count - 1, SLOPE)
    steps[RANK - 1] += AT * (pattern in ("at_rank", "two_drops"))
    if pattern in ("beyond_rank", "two_drops"):
        steps[LATER - 1] += BEYOND
    return 0.3 * 10 ** -np.concatenate([[0], np.cumsum(steps)])


def _write(folder, name):
    rng = np.random.default_rng(0)
    spectra = {path: np.stack([_spectrum(pattern) for pattern in patterns]) for path, patterns in PLANTED[name].items()}
    spectra[HEAD] = _spectrum("none", HEAD_COUNT)
    sizes = {QKV: ((4,), 96, 32), FC1: ((4,), 128, 32), HEAD: ((), HEAD_COUNT, 32)}
    subspaces = {}
    for path, (layers, n, m) in sizes.items():
        U, V = (np.linalg.qr(rng.standard_normal((*layers, size, DIM)))[0] for size in (n, m))
        subspaces[path] = factors(U, V, spectra[path][..., None, :DIM])
    init = "independent" if name == "texture" else None
    return write_subspace(folder / name, name, subspaces, rank=RANK, k=6, spectra=spectra, init=init)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra")
    return read_inputs([_write(folder, name) for name in PLANTED])


@pytest.fixture(scope="module")
def spectra(inputs):
    return measure_spectra(inputs)


@pytest.fixture(scope="module")
def section(spectra):
    return spectra_section(spectra)


def test_rows_hold_the_planted_drops(spectra):
    rows = spectrum_rows(spectra)
    assert len(rows) == 2 * (4 + 4 + 1)
    for row in rows:
        planted = "none" if row.path == HEAD else PLANTED[row.attribute][row.path][row.layer]
        assert row.pattern.name.lower() == planted
        at, beyond = planted in ("at_rank", "two_drops"), planted in ("beyond_rank", "two_drops")
        assert row.drop_after == (RANK if at else None)
        assert row.drop == (pytest.approx(SLOPE + AT, abs=1e-4) if at else None)
        assert row.later_drop_after == (LATER if beyond else None)
        assert row.later_drop == (pytest.approx(SLOPE + BEYOND, abs=1e-4) if beyond else None)
        assert row.sigma_max == pytest.approx(0.3) and (row.rank, row.dim) == (RANK, DIM)
        ratio = 10 ** -(SLOPE * (2 * DIM - 1) + AT * at)
        assert row.ratio == (None if row.path == HEAD else pytest.approx(ratio, rel=1e-5))


def test_singular_values_are_those_of_the_planted_c(tmp_path):
    """Of the mean of the adapters, by NumPy's SVD of the dense matrix."""
    folders = [
        write_run(tmp_path / name, name, draw_adapters(seed, draw_subspaces(seed))) for seed, name in enumerate("ab")
    ]
    inputs = read_inputs(folders)
    spectra = measure_spectra(inputs)
    for a, mined in enumerate(inputs.attributes.values()):
        adapters = [mined.read_adapter(i) for i in range(4)]
        for i, matrix in enumerate(spectra.matrices):
            layer = () if matrix.layer is None else (matrix.layer,)
            C = np.mean([x[matrix.path].A[layer] @ x[matrix.path].B[layer].T for x in adapters], axis=0)
            expected = np.linalg.svd(C.astype(np.float64), compute_uv=False)[: spectra.sigma[a][i].size]
            np.testing.assert_allclose(spectra.sigma[a][i], expected, atol=2e-6 * expected[0])
            assert spectra.ratios[a, i] == pytest.approx(expected[2 * DIM - 1] / expected[0], abs=2e-6)
    rows = singular_value_rows(spectra)
    assert len(rows) == 2 * sum(layers[0] * 16 if layers else 16 for layers, *_ in SHAPES.values())
    assert [row.index for row in rows[:17]] == [*range(1, 17), 1]
    assert rows[16].value == spectra.sigma[0][1][0]


def test_counts_by_attribute_and_depth(spectra):
    texture, camera = summary_of_attributes(spectra)
    assert [texture.counts[pattern] for pattern in Pattern] == [6, 1, 1, 1]
    assert [camera.counts[pattern] for pattern in Pattern] == [3, 5, 0, 1]
    assert camera.drop == pytest.approx(SLOPE + AT, abs=1e-4)
    assert texture.small == 0
    depth = {row.pattern: row for row in depth_of_patterns(spectra)}
    assert {pattern: (row.count, row.layers) for pattern, row in depth.items()} == {
        Pattern.NONE: (7, [0, 1, 2, 3]),
        Pattern.AT_RANK: (6, [0, 1, 2, 3]),
        Pattern.BEYOND_RANK: (1, [1]),
        Pattern.TWO_DROPS: (2, [2, 3]),
    }
    assert depth[Pattern.TWO_DROPS].median_layer == 2.5 and depth[Pattern.NONE].total == 16


def test_words_hold_the_counts(spectra):
    words = counts_in_words(spectra)
    assert (
        "Of 18 spectra (2 attributes × 9 matrices) 6 have a drop at r, 1 have a drop beyond r, 2 have two drops"
        in words
    )
    assert "below 0.001, as in the paper, in 0 of 16" in words
    assert "of 16 spectra (layers counted from 0), no drop: 7, in layers 0–3" in depth_in_words(
        depth_of_patterns(spectra)
    )


@pytest.mark.parametrize(("numbers", "words"), [([], "–"), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0–2, 5, 7–8")])
def test_ranges(numbers, words):
    assert ranges(numbers) == words


def test_the_map_shows_every_pattern(section, spectra):
    figure, _ = section.figures["spectra_patterns"]
    for a, panel in enumerate(figure.axes):
        (mesh,) = (artist for artist in panel.collections if isinstance(artist, QuadMesh))
        shown = np.ma.filled(np.ma.asarray(mesh.get_array()).reshape(3, 4), -1)
        np.testing.assert_array_equal(shown[:2], spectra.codes[a, :8].reshape(2, 4))
        np.testing.assert_array_equal(shown[2], [spectra.codes[a, 8], -1, -1, -1])
        assert [label.get_text() for label in panel.get_yticklabels()] == [
            "frame qkv",
            "global fc1",
            "camera head, other",
        ]
        assert mesh.get_cmap()(mesh.norm(int(Pattern.TWO_DROPS)))[:3] == pytest.approx(
            tuple(int(PATTERN_COLORS[Pattern.TWO_DROPS][i : i + 2], 16) / 255 for i in (1, 3, 5))
        )


def test_curves_and_dots_of_an_attribute(section, spectra):
    figure, caption = section.figures["spectra_texture"]
    panel = figure.axes[0]
    (curves,) = (artist for artist in panel.collections if isinstance(artist, LineCollection))
    for layer, segment in enumerate(curves.get_segments()):
        np.testing.assert_allclose(segment[:, 1], spectra.sigma[0][layer])
    (dots,) = (artist for artist in panel.collections if isinstance(artist, PathCollection))
    assert sorted(np.asarray(dots.get_offsets())[:, 0]) == [RANK, RANK, LATER, LATER]
    assert panel.get_yscale() == "log" and caption.startswith("Texture: singular values of C")


def test_the_ratio_has_one_curve_for_each_attribute(section, spectra):
    figure, _ = section.figures["spectra_ratio"]
    for a in range(2):
        np.testing.assert_allclose(figure.axes[0].lines[a].get_ydata(), spectra.ratios[a, :4])
        assert np.isnan(figure.axes[2].lines[a].get_ydata()).all()
    low, high = figure.axes[0].get_ylim()
    assert low < 1e-3 < spectra.ratios[0, 0] < high


def test_the_text_says_how_input_factors_were_drawn(section):
    assert "Input factors drawn: independent, unknown." in section.text[-1]
