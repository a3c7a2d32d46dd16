"""The first stage: k data sets in which one attribute varies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.manifest import AttributeSettings
from experiments.data.production import dataset_name
from experiments.extraction.settings import Settings
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering import Settings as RenderingSettings
from experiments.rendering import generate
from subspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Data:
    """k data sets, each with scenes to train on and scenes held out."""

    folder: Path
    """Folder of all data sets."""
    settings: AttributeSettings
    """What was rendered."""
    training: Mapping[int, Sequence[StoredScene]]
    """Number of the data set → scenes to train on."""
    held_out: Mapping[int, Sequence[StoredScene]]
    """Number of the data set → scenes to validate on."""
    sha256: Mapping[int, str] = field(default_factory=dict)
    """Number of the data set → one hash of all files of these scenes."""

    def contact_sheet(self, dataset: int) -> Path:
        """The picture with some views of a data set's scenes."""
        return self.folder / dataset_name(dataset) / "contact_sheet.png"


def make_data(
    settings: Settings,
    reporter: Reporter = SILENT,
    meanwhile: Callable[[], object] = lambda: None,
    finished: Callable[[int], object] = lambda _: None,
) -> Data:
    """Render what is missing of the k data sets, and open them.

    ``meanwhile`` and ``finished`` are called as in :func:`experiments.rendering.generate`.

    The last ``settings.training.held_out`` scenes of each are held out. Raises what
    :func:`experiments.rendering.generate` raises, and InputError if so many scenes failed that a data set is too small.
    """
    rendering = rendering_of(settings)
    generate(rendering, reporter, meanwhile, finished)
    return open_data(settings, range(settings.k))


def open_data(settings: Settings, numbers: Iterable[int]) -> Data:
    """Open some of the data sets, which are finished. Raises InputError if so many scenes failed that one is too small."""
    rendering = rendering_of(settings)
    sets = {number: Dataset(rendering.folder / dataset_name(number)) for number in numbers}
    held_out = settings.training.held_out
    for dataset in sets.values():
        if len(dataset) < 2 * held_out:
            raise InputError(
                f"{dataset.folder}: only {len(dataset)} of {settings.scenes} scenes could be rendered, too few to train"
            )
    return Data(
        folder=rendering.folder,
        settings=rendering.stored,
        training={number: dataset.scenes[:-held_out] for number, dataset in sets.items()},
        held_out={number: dataset.scenes[-held_out:] for number, dataset in sets.items()},
        sha256={number: dataset.manifest.sha256 for number, dataset in sets.items()},
    )


def rendering_of(settings: Settings) -> RenderingSettings:
    """The data sets that an extraction needs; those of a preset are what ``experiments.generate`` makes of it."""
    return RenderingSettings(
        attribute=settings.attribute,
        setting=settings.setting,
        datasets=settings.k,
        scenes=settings.scenes,
        views=settings.views,
        resolution=settings.resolution,
        samples=settings.samples,
        glass=settings.glass,
        seed=settings.seed,
        store=settings.store,
        workers=settings.workers,
        blender=settings.blender,
        executor=settings.executor,
    )
