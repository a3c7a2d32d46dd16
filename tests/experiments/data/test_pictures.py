"""Exposure, sRGB, contact sheets."""

import numpy as np
import pytest
from PIL import Image

from experiments.data.contact_sheet import Panel, dataset_panel, draw_sheet
from experiments.data.scene_folder import view_files
from experiments.data.tone_mapping import luminance, to_srgb, white_level


def test_srgb_of_known_values():
    linear = np.array([[[0, 0.001, 0.0031308], [0.02, 0.18, 0.5], [1, 2, 0.214041]]], np.float32)
    expected = [[[0, 3, 10], [39, 118, 188], [255, 255, 127]]]  # sRGB tables; 127.5 rounds to even either way
    np.testing.assert_allclose(to_srgb(linear, white=1.0), expected, atol=1)
    np.testing.assert_array_equal(to_srgb(4 * linear, white=4.0), to_srgb(linear, white=1.0))


def test_white_is_a_percentile_over_all_views():
    brightness = [np.arange(0.0, 60.0), np.arange(60.0, 101.0)]
    assert white_level(brightness, 99) == pytest.approx(99)
    assert luminance(np.ones((2, 3, 3), np.float32)) == pytest.approx(np.ones((2, 3)))
    assert luminance(np.array([0.0, 1.0, 0.0], np.float32)) == pytest.approx(0.7152)


@pytest.mark.parametrize(
    ("brightness", "message"),
    [([0.0] * 5, "black"), ([1.0, np.nan], "not finite"), ([1.0, np.inf], "not finite"), ([], "no surfaces")],
)
def test_unusable_light_is_an_error(brightness, message):
    with pytest.raises(ValueError, match=message):
        white_level([np.array(brightness)], 99)


def test_a_sheet_shows_every_picture_of_every_panel():
    colors = iter(range(1, 200))

    def panel(rows, columns, width):
        return Panel(
            "title",
            [[Image.new("RGB", (width, 30), (next(colors), 0, 99)) for _ in range(columns)] for _ in range(rows)],
        )

    panels = [[panel(2, 3, 40), panel(1, 1, 20)], [panel(3, 2, 50)]]
    sheet = np.asarray(draw_sheet(panels))
    for shown_panel in (panel for row in panels for panel in row):
        for picture in (picture for row in shown_panel.rows for picture in row):
            shown = (sheet == picture.getpixel((0, 0))).all(-1)
            assert shown.sum() == picture.width * picture.height
    assert (sheet[0] == 255).all() and (sheet[-1] == 255).all()


def test_a_data_sets_panel_is_an_even_choice(tmp_path):
    for scene in range(10):
        (tmp_path / f"s{scene}" / "images").mkdir(parents=True)
        for view in range(9):
            Image.new("RGB", (200, 100), (scene, view, 0)).save(tmp_path / f"s{scene}" / view_files(view)[0])
    panel = dataset_panel(tmp_path, [f"s{scene}" for scene in range(10)], 9, "title", rows=4, columns=3)
    shown = [[picture.getpixel((0, 0)) for picture in row] for row in panel.rows]
    assert shown == [[(scene, view, 0) for view in (0, 4, 8)] for scene in (0, 3, 6, 9)]
    assert panel.rows[0][0].size == (160, 80)
