"""Where a table is made otherwise than the paper's: said beneath it, not in a list elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from experiments.data.manifest import Split, Task
from experiments.finetuning.methods import METHODS
from experiments.reproduction.labels import CONSTANT_DEPTH, SPLIT_NAMES
from experiments.reproduction.rows import CONSTANT
from experiments.reproduction.scale import scaled
from experiments.reproduction.tables import MeasuredTable

_PAPERS_MINED_RANK = 16
"""r of the adapters that the paper's main tables are mined from."""

_CONSTANT = (
    f"“{CONSTANT_DEPTH}” is the base model's cameras with one depth for all pixels of a scene: depth that sees nothing."
)

Recorded = Mapping[tuple[Task, str], str]
"""Task and split of each data set that is the user's own recordings → what they are."""


def notes(measured: MeasuredTable, recorded: Recorded = MappingProxyType({})) -> list[str]:
    """Sentences about a table, in the order in which they are read."""
    rows = [_CONSTANT] if CONSTANT in measured.table.rows else []
    return [*_of_user(measured, recorded), *rows, *_of_task(measured, recorded), *_of_mining(measured)]


def _of_user(measured: MeasuredTable, recorded: Recorded) -> Iterator[str]:
    splits: list[Split] = ["train", *(split for split, _ in measured.table.tests)]
    for split in splits:
        if found := recorded.get((measured.table.task, split)):
            yield (
                f"**The {SPLIT_NAMES[split]} scenes are the user's own recordings**: {found}. The paper's figures are of other "
                "scenes, and so are this project's own."
            )


def _of_task(measured: MeasuredTable, recorded: Recorded) -> Iterator[str]:
    if all((measured.table.task, split) in recorded for split, _ in measured.table.tests):
        if measured.table.task == "faces":
            yield (
                "The paper measures points on rendered prints, every sixth of 42 views, and AbsRel and δ on real captures, "
                "every second; here all are of the same scenes and views."
            )
        return
    match measured.table.task:
        case "faces":
            yield (
                "Test pictures are rendered prints, one camera path for each face, where the paper has nine viewpoints of "
                "each. The paper's AbsRel and δ are of real captures; there are none here, so do not compare ours with them."
            )
            yield (
                "Prints are flat, so that whatever flattens a reconstruction gains here: what a model has learnt, and "
                "its collapse."
            )
        case "humans":
            yield "Bodies are stand-ins for the paper's scans (THuman 2.1, and 2K2K in the other domain)."
        case "glass":
            yield "Scenes are rendered stand-ins for ClearPose."


def _of_mining(measured: MeasuredTable) -> Iterator[str]:
    table, scale = measured.table, measured.scale
    mined = [row for row in table.rows if row.method and "subspaces" in METHODS[row.method].options]
    if not mined:
        return
    if table.named_by != "mined_rank" and scale.mined_rank != _PAPERS_MINED_RANK:
        papers = "table has" if table.is_papers else "tables have"
        yield (
            f"Ours is mined from adapters of rank {scaled(scale, scale.mined_rank)}, which stands for the paper's "
            f"{scale.mined_rank}; the paper's own {papers} {_PAPERS_MINED_RANK}, here "
            f"{scaled(scale, _PAPERS_MINED_RANK)} (Table 5 has both)."
        )
    if table.task == "glass" and scale.glass:
        yield (
            "Some objects in the data that Ours is mined from are glass; the paper mines without transparent textures "
            "and says so of this task."
        )
    if any(row.allocation in ("importance", "exact") for row in mined):
        yield (
            "Allocation compares each layer's effective rank with the mean over the layers of its kind, such as the qkv of all "
            "frame blocks; matrices of which there is one keep d."
        )
    if len(measured.seeds) > 1 and measured.minings == "one":
        yield "All seeds share one mining: their range has no part that another mining would add."
    if len(measured.seeds) > 1 and measured.minings == "each":
        yield "Every seed has data sets, adapters and subspaces of its own."
    whole = max(row.size for row in mined)
    if whole >= scale.mined_dim and table.named_by == "allocation":
        yield (
            f"No more than d' = {scaled(scale, scale.mined_dim)} directions are mined, so that at d = {scaled(scale, whole)} "
            f"allocation by effective rank can only leave directions out: there it compares a set with a part of it."
        )
