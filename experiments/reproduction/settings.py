"""What a reproduction of the paper's tables is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.cluster.settings import Ray
from experiments.data.production import dataset_name
from experiments.presets import PRESETS, PresetName, Scale
from experiments.reproduction.plan import Minings, Plan, RatesFor, ValidateOn, make_plan
from experiments.reproduction.rows import TableName
from experiments.storage.arguments import convert_fields
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT
from subspace.errors import InputError
from vggt_jax.missing import no_folder
from weights_convert.sources import HUB


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Tables, seeds, and what they are made with.

    Raises InputError for settings that have no meaning.
    """

    tables: tuple[TableName, ...] = ("2",)
    """Tables of the paper; s1 is the supplement's, ``controls`` is not the paper's."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of fine-tuning: of what is drawn at random and of the order of the data."""
    minings: Minings = field(default="one", metadata=NO_EFFECT_BY_DEFAULT)
    """Whether all seeds share one mining, that of seed 0, or each has its own: other data sets, adapters and subspaces."""
    rates_for: RatesFor = field(default="method", metadata=NO_EFFECT_BY_DEFAULT)
    """What a learning rate is searched for: the smallest row of a method in any table, or every row."""
    validate_on: ValidateOn = field(default="training", metadata=NO_EFFECT_BY_DEFAULT)
    """What rates are compared on: the last scenes of the training data, or further scenes of the test data's kind, which are
    rendered with another seed (or ``TASK/validation/dataset_00`` in ``data``)."""
    preset: PresetName = "nano"
    """Size of data, subspaces and fine-tunings."""
    weights: str | None = None
    """The base model, in a form that :func:`weights_convert.load_vggt` takes; None for that of the preset."""
    data: Path | None = None
    """Folder of your own data sets, as TASK/SPLIT/dataset_00; what it lacks is rendered. None for ``tasks`` in the store."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder of data sets, adapters and runs, shared by commands."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of tables and records, completed if it is there; None for ``results/MODEL``, by the base model's name."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Run again what has a damaged record, or one of another base model, other settings or other data, and replace a page and
    tables that have no records."""
    at_once: int = field(default=1, metadata=NO_EFFECT)
    """Number of fine-tunings at a time; several have processes of their own, of 2 to 3 GB each for nano."""
    workers: int | None = field(default=None, metadata=NO_EFFECT)
    """Number of Blender processes; None for one on each core."""
    blender: str | None = field(default=None, metadata=NO_EFFECT)
    """An installed Blender or a Python with bpy; see :func:`experiments.rendering.blender_command.worker_command`."""

    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster whose nodes render, train and evaluate; None for this machine."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.tables:
            raise InputError("tables: name at least one", argument="tables")
        if not self.seeds or min(self.seeds) < 0:
            raise InputError("seeds: name at least one, none below 0", argument="seeds")
        if self.data is not None and not self.data.is_dir():
            raise InputError(no_folder(self.data), argument="data")
        if self.data is not None and not any(self.data.glob(f"*/*/{dataset_name(0)}")):
            raise InputError(
                f"{self.data} has no data set at TASK/SPLIT/{dataset_name(0)}, such as humans/train/{dataset_name(0)}",
                argument="data",
            )
        if self.at_once < 1:
            raise InputError(f"at_once must be at least 1, got {self.at_once}", argument="at_once")

    @property
    def scale(self) -> Scale:
        """What the paper's sizes become."""
        return PRESETS[self.preset].scale

    @property
    def plan(self) -> Plan:
        """The runs that the tables need."""
        return make_plan(self.tables, self.seeds, self.scale, self.minings, self.rates_for, self.validate_on)

    @property
    def base_weights(self) -> str:
        """The base model, that of the preset filled in."""
        return PRESETS[self.preset].weights if self.weights is None else self.weights

    @property
    def data_folder(self) -> Path:
        """Folder that data sets are looked for in, as TASK/SPLIT/dataset_00."""
        return self.store / "tasks" if self.data is None else self.data

    @property
    def folder(self) -> Path:
        """Folder of the tables and the page."""
        if self.output is not None:
            return self.output
        of_hub = self.base_weights.startswith(HUB)
        name = self.base_weights.removeprefix(HUB).partition("@")[0] if of_hub else self.base_weights
        return Path("results") / Path(name).absolute().name.removesuffix(".safetensors")

    @property
    def records(self) -> Path:
        """Folder of the records."""
        return self.folder / "records"
