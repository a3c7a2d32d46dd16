"""A LoRA made here as a folder that PEFT loads, with a model card."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.loras.collection import Collection
from experiments.loras.report import comparison_page, draw_similarity, remarks_of
from experiments.loras.similarity import Similarity
from experiments.reports.drawings import save_drawings
from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.adapters import load_adapter
from vggt_jax.atomic import check_absent, new_path
from vggt_jax.reading.safetensors_file import TYPES
from weights_convert.lora_file import LoraFile, LoraModule
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_write import Target, cannot_hold, write_lora
from weights_convert.peft import write_peft


def write_made(
    path: Path,
    updates: Mapping[str, LowRank],
    modules: Mapping[str, LoraModule],
    *,
    to: Target,
    base: str | None,
    title: str,
    sources: Sequence[str],
    facts: Mapping[str, str],
) -> None:
    """Write updates whose scale is 1 with a card; raises as :func:`weights_convert.lora_write.write_lora`."""
    plain = {name: modules[name].plain for name in updates}
    write_lora(path, updates, plain, to=to, base=base, card=_card(title, base, sources, facts))


def _card(title: str, base: str | None, sources: Sequence[str], facts: Mapping[str, str]) -> str:
    head = ["---", "library_name: peft", *([f"base_model: {base}"] if base else []), "tags:", "- lora", "---", ""]
    rows = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    made_of = ["", "Made of:", "", *(f"- {source}" for source in sources)]
    return "\n".join([*head, f"# {title}", "", *rows, *made_of, ""])


def convert(lora: LoraFile, path: Path, to: Target) -> tuple[int, list[str]]:
    """Write a LoRA in another layout, factors and scales as they are: how many matrices, and what was left out, in words.

    An adapter of this project becomes the folder that ``python -m weights_convert --to=peft`` writes.

    Raises InputError if nothing of it can be held; else as :func:`weights_convert.lora_write.write_lora`.
    """
    if lora.layout == "project" and to == "peft":
        adapter = load_adapter(lora.path)
        write_peft(path, adapter.deltas, adapter.base.config, scale=adapter.scale, base=adapter.base)
        return len(open_lora(path).modules), []
    refused = set(cannot_hold(lora.modules, to))
    held = {name: module for name, module in lora.modules.items() if not cannot_hold({name: module}, to)}
    if not held:
        raise InputError(f"{to} can hold nothing of {lora.path}: {sorted(refused)[0]}", argument="to")
    types = {lora.tensors.types[module.up] for module in held.values()}
    dtype = TYPES[types.pop()] if len(types) == 1 else TYPES["F32"]
    updates = {name: lora.read(name) for name in held}
    write_lora(path, updates, held, to=to, base=lora.base, dtype=dtype)
    said = [f"left out, {to} has no place for it: {reason}" for reason in sorted(refused)]
    return len(held), said + [f"left out, no part of the LoRA: {name}" for name in lora.left_out]


def write_comparison(folder: Path, collection: Collection, found: Similarity) -> None:
    """Write ``report.html``, ``figures`` and the pairs as ``similarity.csv`` into a new folder.

    Raises FileExistsError if it exists, OSError if it cannot be written.
    """
    with new_path(folder, check=check_absent) as new:
        (new / "figures").mkdir(parents=True)
        svgs = save_drawings(new / "figures", draw_similarity(found))
        (new / "report.html").write_text(comparison_page(found, remarks_of(collection), svgs), encoding="utf-8")
        with (new / "similarity.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["first", "second", "cosine", "output_overlap", "input_overlap"])
            for i, j in zip(*np.triu_indices(len(found.names), 1), strict=True):
                matrices = (found.cosine, found.output_overlap, found.input_overlap)
                table.writerow([found.names[i], found.names[j], *(f"{x[i, j]:.6g}" for x in matrices)])
