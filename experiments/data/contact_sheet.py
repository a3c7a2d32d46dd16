"""Many pictures on one sheet: what varies between scenes and between views must be seen at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.data.observations import read_picture
from experiments.data.scene_folder import view_files

_GAP, _MARGIN = 2, 12
_TITLE_SIZE = 15
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)
_MOST_PIXELS = 160
"""Larger pictures are shrunk to this width."""


@dataclass(frozen=True)
class Panel:
    """A titled grid of pictures of one size: a row for each scene, a column for each view."""

    title: str
    """The line above the grid."""
    rows: Sequence[Sequence[Image.Image]]
    """Pictures of each row, all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.rows[0][0].size
        columns, title_width = max(len(row) for row in self.rows), round(_font().getlength(self.title))
        across, down = columns * (width + _GAP) - _GAP, len(self.rows) * (height + _GAP) - _GAP
        return max(across, title_width), down + _TITLE_SIZE + 8


def dataset_panel(
    folder: Path, scenes: Sequence[str], views: int, title: str, rows: int = 6, columns: int = 8
) -> Panel:
    """Evenly chosen scenes and views of a data set.

    Args:
        folder: of the data set.
        scenes: the scenes' folders in it.
        views: number of views of each.
        title: a line above.
        rows: the most scenes shown.
        columns: the most views shown of each.

    Raises:
        OSError: an image cannot be read.
    """
    shown = [
        [_thumbnail(folder / scenes[scene] / view_files(view)[0]) for view in _evenly(views, columns)]
        for scene in _evenly(len(scenes), rows)
    ]
    return Panel(title, shown)


def draw_sheet(panels: Sequence[Sequence[Panel]]) -> Image.Image:
    """Panels in rows, aligned in columns."""
    columns = max(len(row) for row in panels)
    widths = [max(row[i].size[0] for row in panels if i < len(row)) for i in range(columns)]
    heights = [max(panel.size[1] for panel in row) for row in panels]
    lefts = np.cumsum([_MARGIN, *(width + _MARGIN for width in widths)])
    tops = np.cumsum([_MARGIN, *(height + _MARGIN for height in heights)])
    sheet = Image.new("RGB", (int(lefts[-1]), int(tops[-1])), _BACKGROUND)
    for top, row in zip(tops, panels, strict=False):
        for left, panel in zip(lefts, row, strict=False):
            _draw_panel(sheet, panel, int(left), int(top))
    return sheet


def _draw_panel(sheet: Image.Image, panel: Panel, left: int, top: int) -> None:
    ImageDraw.Draw(sheet).text((left, top), panel.title, fill=_INK, font=_font())
    for i, row in enumerate(panel.rows):
        for j, picture in enumerate(row):
            width, height = picture.size
            sheet.paste(picture, (left + j * (width + _GAP), top + _TITLE_SIZE + 8 + i * (height + _GAP)))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TITLE_SIZE)


def _evenly(count: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _thumbnail(path: Path) -> Image.Image:
    picture = Image.fromarray(read_picture(path))
    scale = min(1.0, _MOST_PIXELS / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
