"""Every row of the paper's tables: what is trained, and what it should show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from experiments.data.manifest import Split, Task
from experiments.mining.allocation import Allocation
from experiments.mining.origin import Updates
from experiments.scenes.schema import Attribute, Setting
from vggt_jax.patterns import HEADS

TableName = Literal["1", "2", "3", "4", "5", "s1", "controls"]
"""The paper's numbers, and ours of what the paper has no table of."""
ModelPart = Literal["all", "blocks", "heads"]
"""What a method changes: every matrix that can be adapted, those of the transformer blocks, or those of the heads."""
PATTERNS: Mapping[ModelPart, tuple[str, ...]] = {"all": ("*",), "blocks": ("aggregator.*",), "heads": HEADS}
"""Part → patterns of its matrices, as :mod:`experiments.finetuning` takes them."""
NamedBy = Literal["method", "mined_rank", "allocation"]
"""What the rows of a table differ in, sizes aside."""


@dataclass(frozen=True)
class Row:
    """What a line of a table stands for, in the paper's sizes; two lines of one table are never equal."""

    method: str | None = None
    """Method of fine-tuning, a key of :data:`experiments.finetuning.methods.METHODS`; None is the base model as it is."""
    size: int = 0
    """r of lora, pissa and adalora, d of subspace, D of psv; 0 for what has no size."""
    mined_rank: int | None = None
    """r of the adapters that the subspaces were mined from; None is that of the main tables."""
    mined_dim: int | None = None
    """d' of the subspaces; None is that of the main tables. More than d leaves allocations a choice in every layer."""
    updates: Updates = "lora"
    """What the subspaces were mined from."""
    allocation: Allocation = "uniform"
    """How directions are spent on the layers, of subspace."""
    part: ModelPart = "all"
    """Part of the model that the method changes; with subspace and psv, the part that gets an M."""
    constant_depth: bool = False
    """Whether every pixel of a scene gets the median of what is predicted of it: what depth alone is worth."""

    @property
    def matrices(self) -> tuple[str, ...]:
        """Patterns of the matrices that the method changes."""
        return PATTERNS[self.part]


@dataclass(frozen=True)
class PaperTable:
    """A table: a task, test sets and rows."""

    name: TableName
    """The paper's number of the table; s1 is the supplement's, ``controls`` is not the paper's."""
    title: str
    """What stands above it."""
    task: Task
    """Task that is fine-tuned for."""
    tests: tuple[tuple[Split, tuple[str, ...]], ...]
    """Test sets with the metrics of each, in the order of the paper's columns; it has none for the Chamfer distance."""
    attributes: tuple[Attribute, ...]
    """Attributes whose subspaces Ours unites."""
    setting: Setting
    """Setting in which these subspaces were mined."""
    rows: tuple[Row, ...]
    """The lines, in the paper's order."""
    named_by: NamedBy = "method"
    """What its rows are called by."""

    @property
    def number(self) -> str:
        """What its column is in tables of tables: 1, S1, controls."""
        return self.name.upper() if self.is_papers else self.name

    @property
    def heading(self) -> str:
        """What stands above it, with its number."""
        return f"Table {self.number}. {self.title}" if self.is_papers else f"Controls. {self.title}"

    @property
    def is_papers(self) -> bool:
        """Whether the paper has this table."""
        return self.name != "controls"


CHAMFER = "chamfer"
"""The Chamfer distance: the mean of accuracy and completeness. The paper prints its halves."""
HALVES = ("accuracy", "completeness")
POINTS = (*HALVES, CHAMFER, "normal_consistency")
DEPTH = ("abs_rel", "delta")
_ALL: tuple[Attribute, ...] = ("texture", "geometry", "camera", "lighting")

BASE, FULL = Row(), Row("full")
CONSTANT = Row(constant_depth=True)
"""Not in the paper: what depth that sees nothing would score; of a print, which is flat, that is a lot."""
BASELINES = (BASE, CONSTANT, FULL)
lora, pissa, adalora, psv, ours = (partial(Row, method) for method in ("lora", "pissa", "adalora", "psv", "subspace"))
random, gradient, pooled, shuffled, mean = (
    partial(Row, method) for method in ("random", "gradient", "pooled", "shuffled", "mean")
)
CONTROL = lora(16, part="heads")
"""Not in the paper: what Ours and PSV have without an M, with a small model nearly all of their parameters."""


def _each(make: Callable[..., Row], sizes: Iterable[int], **settings: Any) -> tuple[Row, ...]:
    return tuple(make(size, **settings) for size in sizes)


# What a table costs is printed before it starts (cost.describe); what it should show:
TABLES: Mapping[TableName, PaperTable] = {
    table.name: table
    for table in (
        # Two attributes' subspaces beat all baselines on flat prints with a fifth of LoRA's parameters; PiSSA overfits.
        PaperTable(
            "1",
            "Printed faces under a micro-baseline",
            "faces",
            (("test", (*POINTS, *DEPTH)),),
            ("texture", "geometry"),
            "micro_baseline",
            (
                *BASELINES,
                *_each(lora, (16, 32, 64, 128)),
                *_each(pissa, (16, 32, 64, 128)),
                CONTROL,
                *_each(ours, (8, 16, 32)),
            ),
        ),
        # Four attributes' subspaces improve with d and lead at d = 64, in and out of domain; LoRA and PiSSA overfit as r grows.
        PaperTable(
            "2",
            "Clothed humans, eight views on a circle",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                *BASELINES,
                *_each(lora, (16, 32, 64, 128, 256)),
                *_each(pissa, (16, 32, 64, 128, 256)),
                CONTROL,
                *_each(ours, (16, 32, 64)),
            ),
        ),
        # At equal numbers of parameters (M on the blocks, plain LoRA on the heads) ours is ahead of LoRA, AdaLoRA behind.
        PaperTable(
            "3",
            "Transparent objects",
            "glass",
            (("test", POINTS),),
            _ALL,
            "object_centric",
            (
                *BASELINES,
                *_each(lora, (16, 32, 64, 128)),
                *_each(adalora, (16, 32, 64, 128)),
                CONTROL,
                ours(64, part="blocks"),
            ),
        ),
        # Mined directions are better than the weights' leading singular vectors; clearest where there are few.
        PaperTable(
            "4",
            "Mined directions or principal singular vectors",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (*_each(psv, (32, 64, 128, 256)), CONTROL, *_each(ours, (8, 16, 32, 64))),
        ),
        # The rank of the adapters that are mined hardly matters.
        PaperTable(
            "5",
            "Subspaces mined from adapters of two ranks",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                *_each(ours, (8, 16, 32, 64), mined_rank=64),
                *_each(ours, (8, 16, 32, 64), mined_rank=16),
            ),
            "mined_rank",
        ),
        # The same d in every layer is as good as d by effective rank.
        PaperTable(
            "s1",
            "The same dimension in every layer, or by effective rank",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                *_each(ours, (16, 32, 64)),
                *_each(ours, (16, 32, 64), allocation="importance"),
            ),
            "allocation",
        ),
    )
}

CONTROLS = PaperTable(
    "controls",
    "Mined directions or others, at equal numbers of parameters (not in the paper)",
    "glass",
    (("test", POINTS),),
    _ALL,
    "object_centric",
    (
        *(BASE, CONSTANT, lora(16), CONTROL, ours(64)),
        *(mean(64), pooled(64), shuffled(64), psv(256), gradient(256), random(256)),
        ours(64, allocation="exact", mined_dim=128),
        *(ours(64, updates="gradient"), ours(64, updates="second_pass"), ours(64, updates="full")),
    ),
)
"""Does mining k trained adapters beat one gradient, singular vectors, random directions, or one subspace for all? And does
mining gain by updates without a random draw, or by a choice among twice as many directions?

On the task on which fine-tuning brings most; D = 4 d. Its rows are run where it is asked for by its name; those that
need as many passes as other adapters come last."""
EVERY_TABLE: Mapping[TableName, PaperTable] = {**TABLES, CONTROLS.name: CONTROLS}
"""The paper's tables and ours."""
