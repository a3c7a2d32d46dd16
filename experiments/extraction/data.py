"""The first stage: k data sets in which one attribute varies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.manifest import AttributeSettings
from experiments.data.production import dataset_name
from experiments.presets import Preset
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering import Settings, generate
from experiments.scenes.schema import Attribute, Setting
from subspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Data:
    """k data sets, each with scenes to train on and scenes held out."""

    folder: Path
    settings: AttributeSettings
    training: dict[int, list[StoredScene]]
    held_out: dict[int, list[StoredScene]]

    def contact_sheet(self, dataset: int) -> Path:
        return self.folder / dataset_name(dataset) / "contact_sheet.png"


def make_data(
    store: Path,
    attribute: Attribute,
    setting: Setting,
    preset: Preset,
    k: int,
    seed: int,
    workers: int | None = None,
    blender: str | None = None,
    reporter: Reporter = SILENT,
) -> Data:
    """Render what is missing of the k data sets, and open them.

    The last ``preset.training.held_out`` scenes of each are held out. Raises what :func:`experiments.rendering.generate`
    raises, and InputError if so many scenes failed that a data set is too small.
    """
    wanted = preset.rendering.scenes
    settings = Settings(
        attribute=attribute,
        setting=setting,
        datasets=k,
        scenes=wanted,
        views=preset.rendering.views,
        resolution=preset.rendering.resolution,
        samples=preset.rendering.samples,
        seed=seed,
        store=store,
        workers=workers,
        blender=blender,
    )
    made = generate(settings, reporter)
    sets = {number: Dataset(folder) for number, folder in enumerate(made.datasets)}
    for dataset in sets.values():
        if len(dataset) < 2 * preset.training.held_out:
            raise InputError(
                f"{dataset.folder}: only {len(dataset)} of {wanted} scenes could be rendered, too few to train"
            )
    return Data(
        settings.folder,
        settings.stored,
        training={number: list(dataset)[: -preset.training.held_out] for number, dataset in sets.items()},
        held_out={number: list(dataset)[-preset.training.held_out :] for number, dataset in sets.items()},
    )
