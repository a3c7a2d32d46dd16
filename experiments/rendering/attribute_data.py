"""Data sets in which one attribute varies and everything else is held fixed (Section 4.1 of the paper)."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from experiments.cluster.settings import Ray
from experiments.data.inputs import Assets
from experiments.data.manifest import AttributeSettings, check_sizes
from experiments.presets import PresetName, preset_of
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Attribute, Scene, Setting
from experiments.storage import files
from experiments.storage.arguments import check_choice, convert_fields
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT

if TYPE_CHECKING:
    from experiments.rendering import runs
    from experiments.synthetic.textures import Library

TEXTURE_SHEET = "textures.png"
"""Contact sheet of the user's textures, beside the data sets."""
TEXTURE_COPIES = ".texture_copies"
"""Folder beside the data sets of maps that are not used as they are."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is rendered, and where; :meth:`of` fills in the numbers of a preset."""

    attribute: Attribute = "geometry"
    """The attribute that varies from scene to scene of a data set."""
    setting: Setting = "object_centric"
    """The kind of scene and of camera path: a room and a camera that hardly moves (``micro_baseline``), things without a room
    and cameras all around (``object_centric``), or a room and a camera that walks about in it (``wide_baseline``)."""
    datasets: int
    """Number of data sets."""
    scenes: int
    """Number of scenes in each data set."""
    views: int
    """Number of views of each scene."""
    resolution: int
    """Width and height of the pictures in pixels."""
    samples: int
    """Light paths per pixel: 4 are enough to train, 16 to evaluate."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    glass: bool = field(default=True, metadata=NO_EFFECT_BY_DEFAULT)
    """Let some objects be transparent, and give windows panes."""
    textures: Path | None = None
    """Folder of pictures or of PBR materials that are used beside the procedural ones."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that commands share; without an ``output`` the data sets are written to its folder ``data``."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the data sets, made or completed; by default below the store, named by the settings."""
    workers: int | None = field(default=None, metadata=NO_EFFECT)
    """Number of Blender processes; by default one for each core."""
    blender: str | None = field(default=None, metadata=NO_EFFECT)
    """An installed Blender or a Python with bpy; see :func:`experiments.rendering.blender_command.worker_command`."""
    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster whose nodes render, of which ``workers`` and ``blender`` speak then; None for this machine."""
    verify: bool = field(default=False, metadata=NO_EFFECT)
    """Hash all files of finished data sets, not only those that were changed since they were written."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace data sets that were made with other settings, or of more scenes."""

    def __post_init__(self) -> None:
        """Raises InputError for a number that is too small or too large, and what is no path or no choice."""
        convert_fields(self)
        check_sizes(self, "datasets", "scenes", "views", "resolution", "samples", "seed")

    @classmethod
    def of(cls, preset: PresetName = "nano", **changes: Any) -> Settings:
        """The numbers of a preset with some changes, for instance ``Settings.of("nano", attribute="texture", scenes=4)``.

        Raises InputError for a preset or another value that there is not.
        """
        sizes = preset_of(preset).rendering
        setting: Setting = changes.get("setting", "object_centric")
        check_choice(setting, sizes.datasets, "setting")
        usual: dict[str, Any] = {
            "datasets": sizes.datasets[setting],
            "scenes": sizes.scenes,
            "views": sizes.views,
            "resolution": sizes.resolution,
            "samples": sizes.samples,
            "glass": sizes.glass,
        }
        return cls(**{**usual, **changes})

    @property
    def label(self) -> str:
        """A name that data sets with other settings do not have, but for the user's own textures."""
        opaque = "" if self.glass else "_opaque"
        sizes = f"{self.resolution}px_{self.views}views_{self.samples}spp"
        return f"{self.attribute}_{self.setting}{opaque}_{sizes}_seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of the data sets."""
        return self.store / "data" / self.label if self.output is None else self.output

    @property
    def stored(self) -> AttributeSettings:
        """The part of the settings that decides about every byte of a scene, as data sets store it."""
        return AttributeSettings(
            attribute=self.attribute,
            setting=self.setting,
            seed=self.seed,
            views=self.views,
            resolution=self.resolution,
            samples=self.samples,
            textures=None if self.textures is None else os.path.abspath(self.textures),
            glass=msgspec.UNSET if self.glass else False,
        )


@dataclass(frozen=True)
class Generated:
    """Data sets that are finished."""

    folder: Path
    """Folder of all of them."""
    datasets: tuple[Path, ...]
    """Folder of each, which :class:`experiments.data.dataset.Dataset` reads."""
    scenes: int
    """Number of scenes that there are, over all data sets."""
    failed: int
    """Number of scenes that could not be rendered; the manifests list them."""
    rendered: int
    """Number of scenes that were rendered now; 0 if there was nothing to do."""
    seconds: float
    """Duration of this call."""


def generate(
    settings: Settings,
    reporter: Reporter = SILENT,
    meanwhile: Callable[[], object] = lambda: None,
    finished: Callable[[int], object] = lambda _: None,
) -> Generated:
    """Make data sets, or what is missing of them.

    A run that was interrupted goes on where it stopped. Where the user's textures have changed, the scenes that show them are
    made again. Data sets are the same, bit by bit, whatever the number of workers
    and of interruptions.

    Args:
        settings: what is rendered, and where.
        reporter: is told of scenes that fail and of progress.
        meanwhile: begins what can be done beside: called once or twice where there is something to render and Blender, or
            what makes its environment, was found.
        finished: is called with the number of each data set that is finished while others are rendered.

    Raises:
        InputError: textures that cannot be used, a folder with something else, or a data set of which no scene can be
            rendered.
        OSError: no Blender, or a folder that cannot be written.
    """
    from experiments.rendering import runs  # now, as --help should not wait for SciPy
    from experiments.rendering.places import Place

    start = time.perf_counter()
    place = Place(settings.executor, settings.blender, settings.workers, settings.resolution, settings.folder)
    place.check(settings.datasets * settings.scenes)
    library: Library | None = None

    def scene_maker() -> runs.SceneMaker:
        from experiments.synthetic.generator import make_scene

        nonlocal library
        if settings.textures is not None:
            library = _read_textures(settings, settings.textures, reporter)
        textures = () if library is None else library.textures

        def make(dataset: int, scene: int, attempt: int) -> Scene:
            return make_scene(
                settings.attribute,
                settings.setting,
                seed=settings.seed,
                dataset=dataset,
                scene=scene,
                attempt=attempt,
                views=settings.views,
                width=settings.resolution,
                height=settings.resolution,
                samples=settings.samples,
                textures=textures,
                glass=settings.glass,
            )

        return make

    def show_textures() -> None:
        if library is not None:
            _write_sheet(library, settings.folder / TEXTURE_SHEET)

    assets = None
    if settings.textures is not None:
        from experiments.synthetic.textures import texture_files

        assets = Assets(settings.textures, texture_files(settings.textures), show_textures)
    outcome = runs.generate(
        settings.folder,
        settings.stored,
        settings.datasets,
        settings.scenes,
        scene_maker,
        lambda: place.executor(reporter, meanwhile),
        verify=settings.verify,
        overwrite=settings.overwrite,
        assets=assets,
        finished=finished,
        reporter=reporter,
    )
    return Generated(
        folder=settings.folder,
        datasets=outcome.datasets,
        scenes=outcome.scenes,
        failed=outcome.failed,
        rendered=outcome.rendered,
        seconds=time.perf_counter() - start,
    )


def _read_textures(settings: Settings, folder: Path, reporter: Reporter) -> Library:
    from experiments.synthetic.textures import read_library

    return read_library(folder, settings.folder / TEXTURE_COPIES, settings.resolution, reporter)


def _write_sheet(library: Library, path: Path) -> None:
    from experiments.synthetic.texture_sheet import draw_library

    content = io.BytesIO()
    draw_library(library).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
