"""What a way of fine-tuning is; :mod:`experiments.finetuning.methods` has one file for each.

To add a method, write ``methods/NAME.py`` with one dataclass and nothing else; the command's flags, the trainer, the tables of
``experiments.reproduce`` and the count of trained numbers find it there::

    @dataclass(frozen=True, kw_only=True)
    class LoRA(RankMethod):
        \"\"\"dW = A Bᵀ.\"\"\"

        name = "lora"                                   # --method=lora
        label = "LoRA"                                  # in tables
        summary = "A and B"                             # in --help

        def maker(self, parameters, matrices):
            from vggt_jax import adapters               # not above: --help does not wait for JAX

            return adapters.LoRA(adapters.select(matrices, self.matrices), self.rank, alpha=self.rank)

Settings that contradict each other raise :class:`~subspace.errors.InputError` in ``__post_init__``, so that no impossible
method exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from experiments.finetuning.files import ADAPTER
from experiments.storage.arguments import convert_fields
from subspace.errors import InputError

if TYPE_CHECKING:  # the flags of a command are made from the methods, and --help need not wait for JAX
    from flax import nnx

    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.models import Base
    from experiments.presets import Preset
    from vggt_jax import VGGTConfig
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker
    from vggt_jax.parameters import ParameterCount


@dataclass(frozen=True)
class Option:
    """A setting that the command ``experiments.finetune`` has a flag of the same name for."""

    help: str
    """What the flag means for the method, with its default."""
    kind: Literal["integer", "names", "paths", "choice"] = "integer"
    """A positive integer; patterns or paths, separated by commas; or one of ``choices``."""
    choices: tuple[str, ...] = ()
    """Values of a choice."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of fine-tuning with its settings; the base class of all."""

    name: ClassVar[str]
    """Key in :data:`experiments.finetuning.methods.METHODS`, and what files and folders are called by."""
    label: ClassVar[str]
    """Name in tables."""
    summary: ClassVar[str]
    """What is trained, in a few words, for ``--help``."""
    size: ClassVar[str | None]
    """The setting that tables of several sizes vary, a key of ``options``; None for a method without one."""
    symbol: ClassVar[str]
    """How tables write the size, such as ``d``."""
    options: ClassVar[dict[str, Option]] = {
        "matrices": Option("patterns such as aggregator.*: which matrices the method changes; by default all", "names")
    }
    """Settings that :meth:`of` takes by name, and what a user is told about them."""
    reads_weights: ClassVar[bool] = True
    """Whether the method looks at the weights themselves, not only at products with them, and so needs all their digits."""
    version: ClassVar[int] = 1
    """Of what the method does. It becomes another one when equal settings come to give other results."""
    result: ClassVar[str] = ADAPTER
    """Name of what training leaves: :data:`~experiments.finetuning.files.ADAPTER` or ``MODEL``."""

    matrices: tuple[str, ...] = ("*",)
    """Patterns of the matrices that the method changes, see :func:`vggt_jax.adapters.select`."""

    def __post_init__(self) -> None:
        convert_fields(self)

    @classmethod
    def of(cls, preset: Preset, **given: Any) -> Self:
        """The method with a preset's sizes, and what is ``given``: any of ``options``.

        Raises InputError for settings that contradict each other.
        """
        return cls(**{**cls.defaults(preset), **given})

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        """Fields that a preset determines."""
        return {}

    @abstractmethod
    def count(self, config: VGGTConfig) -> ParameterCount:
        """How many numbers the method trains in a model of this size, exactly, before any weights are there."""

    @abstractmethod
    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        """What is trained on ``base``.

        Args:
            base: the model that is fine-tuned.
            settings: optimiser, objective and seed.

        Raises:
            InputError: patterns that match nothing, sizes that do not fit the model, files of another model.
            OSError: a file that cannot be read.
        """

    def inputs(self, base: Base) -> dict[str, Any]:
        """Hashes of what lies in the files that the settings name, as JSON can hold them; raises as :meth:`trainable` does."""
        return {}


@dataclass(frozen=True, kw_only=True)
class AdapterMethod(Method):
    """A method that trains an adapter beside the weights, and leaves its file."""

    @abstractmethod
    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        """The maker of the adapter.

        Args:
            parameters: of the base model; traced where only shapes are wanted.
            matrices: all matrices that may be adapted.

        Raises InputError for patterns that match nothing and sizes that do not fit.
        """

    def count(self, config: VGGTConfig) -> ParameterCount:
        from experiments.finetuning.trainable import count_of

        return count_of(config, self.maker)

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        from experiments.finetuning.trainable import train_adapter
        from vggt_jax.parameters import adaptable_matrices

        return train_adapter(base, self.maker(base.parameters, adaptable_matrices(base.config)), settings)


@dataclass(frozen=True, kw_only=True)
class RankMethod(AdapterMethod):
    """An adapter whose size is a rank, by default the preset's."""

    size = symbol = "rank"
    options = AdapterMethod.options | {"rank": Option("r of the update (nano 8, vggt_1b 16)")}

    rank: int
    """r of the update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rank=self.rank)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return {"rank": preset.training.rank}


def check_positive(**sizes: float) -> None:
    """Raises InputError unless all numbers are above zero."""
    for name, size in sizes.items():
        if not size > 0:
            raise InputError(f"{name} must be positive, got {size}", argument=name)
