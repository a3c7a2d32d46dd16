"""Pictures of faces with masks of the heads: a photo from scikit-image, and rendered heads of :mod:`experiments.tasks.bodies`.

The photo is scikit-image's "astronaut" (Eileen Collins, NASA, public domain); its mask is a polygon drawn by hand. A rendered
head is an object of its own, so that its mask is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from experiments.data.dataset import Dataset
from experiments.data.manifest import TaskSettings
from experiments.data.production import dataset_name
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering import runs
from experiments.rendering.pool import Executor
from experiments.scenes import mesh_files, schema
from experiments.tasks.naming import Name
from experiments.tasks.portraits import PortraitScenes
from subspace.errors import InputError

RESOLUTION, SAMPLES = 320, 24
"""Of the rendered heads."""
PAPER = 0.04
"""White border around the picture, as a share of its longer side."""
CROP = (120, 0, 340, 220)
"""Of the photo: left, top, right and bottom, pixels."""
HEAD = (
    (100, 245), (112, 190), (160, 140), (212, 110), (250, 70), (325, 47), (400, 60), (470, 95), (515, 150), (538, 205),
    (546, 255), (530, 320), (500, 360), (478, 388), (462, 410), (443, 402), (430, 450), (405, 500), (402, 560), (350, 572),
    (290, 560), (230, 555), (200, 535), (196, 480), (190, 400), (165, 385), (150, 355), (112, 315), (104, 280),
)  # fmt: skip
"""Hair, face and neck in the crop enlarged three times, pixels."""


@dataclass(frozen=True)
class FacePicture:
    """A picture and its mask, as files."""

    color: schema.Wrapped
    """The picture."""
    mask: schema.Wrapped
    """The mask, of the same size as the picture; white is the face."""
    aspect: float
    """Width of the picture over its height."""


def make_pictures(
    folder: Path,
    number: int,
    seed: int,
    executor: Callable[[], AbstractContextManager[Executor]],
    reporter: Reporter = SILENT,
) -> list[FacePicture]:
    """The photo and ``number`` - 1 rendered heads.

    Args:
        folder: where all is written, or found from last time; made if need be.
        number: how many.
        seed: of the heads.
        executor: renders them.
        reporter: is told of progress.

    Raises:
        InputError: the folder holds something else, no head can be rendered, or the extra ``tasks`` is missing.
        OSError: the folder cannot be written.
    """
    first = photo()
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [_write(folder, 0, *first)]
    if number > 1:
        heads = _render_heads(folder, number - 1, seed, executor, reporter)
        for i, scene in enumerate(heads):
            views = scene.load([0])
            head = views.object_ids[0] == 1  # PortraitScenes puts the head first
            pictures.append(_write(folder, i + 1, views.images[0], head))
    return pictures


def photo() -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The photo and its mask.

    Raises InputError if scikit-image is missing.
    """
    try:
        from skimage.data import astronaut  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("scikit-image is missing: pip install -e '.[tasks]'") from None
    left, top, right, bottom = CROP
    size = 3 * (right - left), 3 * (bottom - top)
    drawn = Image.new("L", size)
    ImageDraw.Draw(drawn).polygon(HEAD, fill=255)
    mask = np.asarray(drawn.resize((right - left, bottom - top))) > 127
    return np.asarray(astronaut())[top:bottom, left:right], mask


def _write(folder: Path, number: int, picture: np.ndarray, mask: np.ndarray) -> FacePicture:
    """On white paper."""
    border = round(PAPER * max(mask.shape))
    paper = np.pad(picture, ((border, border), (border, border), (0, 0)), constant_values=245)
    counts = np.pad(255 * mask.astype(np.uint8), border)
    return FacePicture(
        mesh_files.write_picture(Image.fromarray(paper), folder / f"face_{number:02d}.png"),
        mesh_files.write_picture(Image.fromarray(counts), folder / f"face_{number:02d}_mask.png"),
        paper.shape[1] / paper.shape[0],
    )


def _render_heads(
    folder: Path,
    number: int,
    seed: int,
    executor: Callable[[], AbstractContextManager[Executor]],
    reporter: Reporter,
) -> Dataset:
    settings = TaskSettings(task="faces", split="test", seed=seed, views=1, resolution=RESOLUTION, samples=SAMPLES)

    def scene_maker() -> runs.SceneMaker:
        from experiments.tasks.bodies import make_bodies

        make = PortraitScenes(make_bodies(folder / "meshes", "portraits", number, seed, reporter), folder / "parts")
        return lambda dataset, scene, attempt: make(Name(settings, dataset, scene, attempt))

    # More heads than are needed now, or heads of other settings, may be left from a run that went no further.
    runs.generate(folder / "heads", settings, 1, number, scene_maker, executor, overwrite=True, reporter=reporter)
    return Dataset(folder / "heads" / dataset_name(0))
