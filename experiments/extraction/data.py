"""The first stage: k data sets in which one attribute varies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.manifest import Settings
from experiments.data.production import dataset_name
from experiments.generate import default_folder, generate
from experiments.presets import Preset
from experiments.scenes.schema import Attribute, Setting
from subspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Data:
    """k data sets, each with scenes to train on and scenes held out."""

    folder: Path
    settings: Settings
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
) -> Data:
    """Render what is missing of the k data sets, and open them.

    The last ``preset.training.held_out`` scenes of each are held out. Raises what :func:`experiments.generate.generate`
    raises, and ValueError if so many scenes failed that a data set is too small.
    """
    settings = Settings(
        attribute=attribute,
        setting=setting,
        seed=seed,
        views=preset.rendering.views,
        resolution=preset.rendering.resolution,
        samples=preset.rendering.samples,
    )
    folder = store / "data" / default_folder(settings)
    wanted = preset.rendering.scenes
    generate(settings, folder, k, wanted, workers=workers, blender=blender)
    sets = {number: Dataset(folder / dataset_name(number)) for number in range(k)}
    for dataset in sets.values():
        if len(dataset) < 2 * preset.training.held_out:
            raise InputError(
                f"{dataset.folder}: only {len(dataset)} of {wanted} scenes could be rendered, too few to train"
            )
    return Data(
        folder,
        settings,
        training={number: list(dataset)[: -preset.training.held_out] for number, dataset in sets.items()},
        held_out={number: list(dataset)[-preset.training.held_out :] for number, dataset in sets.items()},
    )
