"""What a pre-training is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from experiments.storage.arguments import convert_fields
from experiments.storage.identity import NO_EFFECT
from experiments.training.trackers import TrackerName, check_installed
from subspace.errors import InputError

Ingredient = Literal["matching", "token_points", "widening", "augmentation", "stages", "motion", "start"]
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)
"""What a recipe can leave out; "stages" gives all stages the last one's losses and parts, "start" begins with drawn weights."""
RecipeName = Literal["nano", "orbits"]


@dataclass(frozen=True)
class Settings:
    """One run of nano's recipe, or of a shorter or poorer one.

    Raises InputError for settings that contradict each other.
    """

    data: tuple[Path, ...]
    """Data sets of ``experiments.generate`` to train on, at the model's resolution."""
    recipe: RecipeName = field(default="nano", metadata=NO_EFFECT)  # what it says counts
    """What is done: ``nano`` trains the first small model from scratch, ``orbits`` goes on from it around objects."""
    start: str | None = field(default=None, metadata=NO_EFFECT)  # what it holds counts
    """The model to begin with, in a form that :func:`weights_convert.load_vggt` takes; None for the recipe's."""
    length: float = 1.0
    """Factor of the steps of every stage."""
    seed: int = 0
    """Seed of parameters, batches and evaluated pairs."""
    without: Ingredient | None = None
    """Ingredient of the recipe to leave out, for an ablation; None for the whole recipe."""
    also_evaluate: tuple[Path, ...] = ()
    """Data sets that are not trained on, such as the attributes', whose errors the card shows too."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder to make, with the trained model; None for one below ``store`` that is named by what the results depend on."""
    run: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of checkpoints and metrics; None for one below ``store`` that is named by what the training depends on."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that holds the results of all commands."""
    log: tuple[TrackerName, ...] = field(default=(), metadata=NO_EFFECT)
    """Where metrics go besides ``metrics.jsonl``: TensorBoard's event files, Weights & Biases."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.data:
            raise InputError("data: name at least one data set, a folder with a manifest.json", argument="data")
        if not self.length > 0:
            raise InputError(f"length must be positive, got {self.length}", argument="length")
        if self.length > 1000:
            raise InputError(f"length must be at most 1000, got {self.length}", argument="length")
        check_installed(self.log)

    @property
    def label(self) -> str:
        """A few words that name the run."""
        return self.recipe if self.without is None else f"{self.recipe}_without_{self.without}"
