"""What an evaluation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.cluster.settings import Ray
from experiments.evaluation.adapter_path import check_adapter
from experiments.presets import SMALL_MODEL
from experiments.process.mesh_sizes import MeshSizes, check_one_adapter
from experiments.storage.arguments import convert_fields
from experiments.storage.files import check_named_once
from experiments.storage.identity import NO_EFFECT
from subspace.errors import InputError

Mask = Literal["valid", "glass", "task"]
"""All pixels with a surface, those with a transparent one, or those that the data's own mask counts."""


@dataclass(frozen=True)
class Settings:
    """One evaluation: a model, with an adapter or without, or stored predictions, on data sets with known truth.

    Raises InputError for settings that contradict each other.
    """

    data: tuple[Path, ...]
    """Folders of finished data sets."""
    weights: str = SMALL_MODEL
    """The model that predicts, in a form that :func:`weights_convert.load_vggt` takes."""
    adapter: Path | None = None
    """An adapter of that model: a file of this project or a PEFT folder; None for none."""
    predictions: Path | None = None
    """Folder of stored predictions that are evaluated in place of a model's."""
    views: str | None = None
    """Views of each scene that are predicted together: a name or numbers with commas, see
    :func:`experiments.evaluation.views.choose_views`; None for the list made for the data."""
    held_out: int | None = None
    """Number of each data set's last scenes that are evaluated; None for all scenes."""
    mask: Mask = "valid"
    """Pixels that count."""
    exact: bool = False
    """Look up every point's neighbour in large scenes too, not a sample's."""
    save_predictions: bool = False
    """Keep the model's depth maps and cameras, in the form that ``predictions`` takes."""
    mesh: MeshSizes | None = field(default=None, metadata=NO_EFFECT)
    """Devices by what they share, scenes or the model's large matrices; None for scenes alone."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder to make; None for one below ``store`` that is named by what the results depend on."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that holds the results of all commands."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""
    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster of which one node does it, with all its accelerators; None for this machine."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.data:
            raise InputError("data: name at least one data set, a folder with a manifest.json", argument="data")
        check_named_once(self.data, "data")
        if self.predictions is not None and self.adapter is not None:
            raise InputError(
                "predictions are those of a finished model: an adapter does not go with them", argument="predictions"
            )
        check_one_adapter(self.mesh)
        if self.adapter is not None:
            check_adapter(self.adapter)
        if self.held_out is not None and self.held_out < 1:
            raise InputError(f"held_out must be at least 1, got {self.held_out}", argument="held_out")
