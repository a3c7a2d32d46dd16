"""Every row of the paper's tables: what is trained, and what it should show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.data.manifest import Split, Task
from experiments.finetuning.choice import HEADS, Allocation
from experiments.scenes.schema import Attribute, Setting
from vggt_jax.parameters import Method

TableName = Literal["1", "2", "3", "4", "5", "s1"]
BLOCKS = ("aggregator.*",)


@dataclass(frozen=True)
class Row:
    """One line of a table, with the sizes that the paper prints; :mod:`experiments.reproduction.scale` has a preset's."""

    label: str
    """As the paper prints it, the key of ``paper.json``, where controls are missing."""
    method: Method | None = None
    """None: the base model as it is."""
    size: int = 16
    """r of lora, pissa and adalora, d of subspace, D of psv."""
    mined_rank: int | None = None
    """r of the adapters that the subspaces were mined from; None: those of the main tables."""
    allocation: Allocation = "uniform"
    matrices: tuple[str, ...] = ("*",)
    """Those that the method changes; with subspace and psv, that get an M."""
    plain: tuple[str, ...] = HEADS
    """Those that get a plain LoRA of rank 16 as well."""


@dataclass(frozen=True)
class Table:
    """A table: a task, test sets and rows."""

    name: TableName
    title: str
    task: Task
    tests: tuple[tuple[Split, tuple[str, ...]], ...]
    """Test sets with the metrics of each, in the order of the paper's columns."""
    attributes: tuple[Attribute, ...]
    """Whose subspaces Ours unites."""
    setting: Setting
    """In which they were mined."""
    rows: tuple[Row, ...]


POINTS = ("accuracy", "completeness", "normal_consistency")
DEPTH = ("abs_rel", "delta")
_ALL: tuple[Attribute, ...] = ("texture", "geometry", "camera", "lighting")


def _ranks(label: str, method: Method, ranks: tuple[int, ...]) -> tuple[Row, ...]:
    return tuple(Row(f"{label} (rank={rank})", method, rank) for rank in ranks)


def _ours(dims: tuple[int, ...], label: str = "Ours (d={})", **settings) -> tuple[Row, ...]:
    return tuple(Row(label.format(dim), "subspace", dim, **settings) for dim in dims)


_BASE, _FULL = Row("VGGT"), Row("Full", "full")
CONTROL = Row("Heads alone (rank=16)", "lora", matrices=HEADS)
"""Not in the paper: what Ours and PSV have without an M, with a small model nearly all of their parameters."""

# What a table costs is printed before it starts (plan.describe); what it should show:
TABLES: Mapping[TableName, Table] = {
    table.name: table
    for table in (
        # Two attributes' subspaces beat all baselines on flat prints with a fifth of LoRA's parameters; PiSSA overfits.
        Table(
            "1",
            "Printed faces under a micro-baseline",
            "faces",
            (("test", (*POINTS, *DEPTH)),),
            ("texture", "geometry"),
            "micro_baseline",
            (
                _BASE,
                _FULL,
                *_ranks("LoRA", "lora", (16, 32, 64, 128)),
                *_ranks("PiSSA", "pissa", (16, 32, 64, 128)),
                CONTROL,
                *_ours((8, 16, 32)),
            ),
        ),
        # Four attributes' subspaces improve with d and lead at d = 64, in and out of domain; LoRA and PiSSA overfit as r grows.
        Table(
            "2",
            "Clothed humans, eight views on a circle",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                _BASE,
                _FULL,
                *_ranks("LoRA", "lora", (16, 32, 64, 128, 256)),
                *_ranks("PiSSA", "pissa", (16, 32, 64, 128, 256)),
                CONTROL,
                *_ours((16, 32, 64)),
            ),
        ),
        # At equal numbers of parameters (M on the blocks, plain LoRA on the heads) ours is ahead of LoRA, AdaLoRA behind.
        Table(
            "3",
            "Transparent objects",
            "glass",
            (("test", POINTS),),
            _ALL,
            "object_centric",
            (
                _BASE,
                _FULL,
                *_ranks("LoRA", "lora", (16, 32, 64, 128)),
                *_ranks("AdaLoRA", "adalora", (16, 32, 64, 128)),
                CONTROL,
                Row("Ours", "subspace", 64, matrices=BLOCKS),
            ),
        ),
        # Mined directions are better than the weights' leading singular vectors; clearest where there are few.
        Table(
            "4",
            "Mined directions or principal singular vectors",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (*(Row(f"PSV (d={D})", "psv", D) for D in (32, 64, 128, 256)), CONTROL, *_ours((8, 16, 32, 64))),
        ),
        # The rank of the adapters that are mined hardly matters.
        Table(
            "5",
            "Subspaces mined from adapters of two ranks",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                *_ours((8, 16, 32, 64), "r=64 (d={})", mined_rank=64),
                *_ours((8, 16, 32, 64), "r=16 (d={})", mined_rank=16),
            ),
        ),
        # The same d in every layer is as good as d by effective rank.
        Table(
            "s1",
            "The same dimension in every layer, or by effective rank",
            "humans",
            (("test", POINTS), ("cross_domain", POINTS)),
            _ALL,
            "object_centric",
            (
                *_ours((16, 32, 64), "Uniform (d={})"),
                *_ours((16, 32, 64), "Importance (d={})", allocation="importance"),
            ),
        ),
    )
}
