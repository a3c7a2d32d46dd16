"""LoRAs of any model: what is in them, which are alike, what they share, merged, split and converted.

``python -m experiments.adapters info LORA …`` says what each file is, ``compare`` which of them are alike, ``mine`` what they
share (a folder that ``analyze`` reads), ``add`` puts one more into such a folder without the others (``--to``), ``merge`` makes
one LoRA of many, ``project``, ``residual`` and ``remove`` take the part of one inside or outside a mined subspace
(``--basis``), ``convert`` writes another layout, ``start`` a PEFT folder that begins in a mined subspace, for training in
PyTorch (the LORA says what the matrices are, or of a VGGT ``--weights``).

A LORA is a PEFT folder, a single file of diffusers or kohya's scripts, an adapter of this project, a folder with such in it, a
pattern, a list (``.txt``) or ``hf:owner/name``. What is written is a folder that PEFT loads, with a model card.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.process.command_line import (
    DEFINE_path,
    DEFINE_path_or_name,
    InputError,
    nearest,
    refuse,
    run,
    run_if_new,
)
from experiments.storage.store_flags import DEFINE_store

if TYPE_CHECKING:
    from experiments.loras.collection import Collection
    from weights_convert.lora_file import LoraFile
    from weights_convert.lora_write import Target

ACTIONS = ("info", "compare", "mine", "add", "merge", "project", "residual", "remove", "convert", "start")
PROJECT = "project"
"""The layout of this project's own adapters, which only those of a VGGT have."""
_FLAGS = {
    "label": ("mine",),
    "dim": ("mine",),
    "exponent": ("mine",),
    "store": ("mine", "add"),
    "overwrite": ("mine", "add"),
    "modules": ("compare", "mine", "merge"),
    "method": ("merge",),
    "rank": ("merge",),
    "weigh": ("merge",),
    "density": ("merge",),
    "seed": ("merge",),
    "basis": ("project", "residual", "remove", "convert", "start"),
    "weights": ("convert", "start"),
    "to": ("add", "merge", "project", "residual", "remove", "convert"),
    "output": ("compare", "mine", "add", "merge", "project", "residual", "remove", "convert", "start"),
}
"""Flags and the actions that they belong to."""


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in ACTIONS:
        given = arguments[0] if arguments else "nothing"
        near = nearest(given, ACTIONS) if arguments else ""
        raise InputError(f"say what to do, one of: {', '.join(ACTIONS)}; got {given}{near}")
    action, places = arguments[0], tuple(os.path.expanduser(place) for place in arguments[1:])
    refuse([name for name, actions in _FLAGS.items() if action not in actions], f"on {action}")
    if not places and not (action == "start" and flags.FLAGS.weights):
        raise InputError(f"{action} needs LoRAs: folders, files, patterns or lists")
    given = flags.FLAGS.flag_values_dict()
    if given["output"] is None and action not in ("info", "compare", "mine", "add"):
        raise InputError(
            f"{action} needs --output, a new folder (with --to=diffusers, kohya or project a new .safetensors)"
        )

    from experiments.process.compilation_cache import keep_compiled
    from vggt_jax.atomic import check_absent, check_writable

    if given["output"] is not None and action not in ("mine", "add"):  # those find their own results there
        check_absent(given["output"])
        check_writable(given["output"])
    keep_compiled()
    actions: dict[str, Callable[[tuple[str, ...], dict[str, Any]], None]] = {
        "info": _info, "compare": _compare, "mine": _mine, "add": _add, "merge": _merge, "convert": _convert, "start": _start,
    }  # fmt: skip
    actions.get(action, lambda places, given: _part(action, places, given))(places, given)


def _info(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.inspection import describe

    for line in describe(places, low_rank_part=given["low_rank_part"]):
        print(line)


def _collected(places: tuple[str, ...], given: dict[str, Any]) -> Collection:
    from experiments.loras.collection import collect
    from experiments.loras.report import remarks_of
    from experiments.process.reporting import console

    found = collect(places, modules=given["modules"], low_rank_part=given["low_rank_part"], reporter=console())
    for remark in remarks_of(found):
        print(remark)
    return found


def _compare(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.report import similarity_lines
    from experiments.loras.similarity import compare
    from experiments.loras.writing import write_comparison
    from experiments.process.reporting import console

    collection = _collected(places, given)
    found = compare(collection, console())
    for line in similarity_lines(found):
        print(line)
    if given["output"] is not None:
        write_comparison(given["output"], collection, found)
        print(f"wrote {given['output']}; open {given['output']}/report.html")


def _mine(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.mining import MineSettings, ready
    from experiments.loras.report import remarks_of
    from experiments.mining.report import print_table, verdict
    from experiments.process.reporting import console

    names = ("label", "dim", "exponent", "modules", "low_rank_part", "store", "output", "overwrite")
    found = run_if_new(ready(MineSettings(adapters=places, **{name: given[name] for name in names}), console()))
    print(print_table(found.matrices))
    for remark in remarks_of(found.collection)[: len(found.collection.same_start)]:
        print(remark)
    print(verdict(found.matrices))
    print(f"wrote {found.folder} in {found.seconds:.0f} s; open {found.folder}/report.html")


def _add(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.adding import AddSettings, ready
    from experiments.mining.report import print_table
    from experiments.process.reporting import console

    if len(places) != 1:
        raise InputError(f"add takes one LoRA at a time, got {len(places)}")
    if given["to"] is None:
        raise InputError("add needs --to, a folder of `adapters mine`")
    names = ("low_rank_part", "store", "output", "overwrite")
    to = Path(os.path.expanduser(given["to"]))
    settings = AddSettings(adapter=places[0], to=to, **{name: given[name] for name in names})
    found = run_if_new(ready(settings, console()))
    print(print_table(found.matrices))
    for remark in found.remarks:
        print(f"{remark[0].upper()}{remark[1:]}.")
    print(
        f"{found.share:.1%} of the energy of {found.name} lies in the subspace of the others, where chance gives "
        f"{found.chance:.2%}"
    )
    print(f"wrote {found.folder} in {found.seconds:.0f} s; open {found.folder}/report.html")


def _merge(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.merging import OF_DENSITY, Merge, merge
    from experiments.loras.writing import write_made
    from experiments.process.reporting import console

    refuse(
        [*([] if given["method"] in OF_DENSITY else ["density"]), *([] if given["method"] == "dare" else ["seed"])],
        f"with --method={given['method']}",
    )
    to = _layout(given)
    how = Merge(
        weights=_weights(given["weigh"]), **{name: given[name] for name in ("method", "rank", "density", "seed")}
    )
    collection = _collected(places, given)
    found = merge(collection, how, console())
    facts = {
        "method": how.method,
        "rank": str(how.rank or "the largest"),
        "energy kept by the rank": f"{found.kept:.2%}",
    }
    write_made(
        given["output"], found.updates, collection.modules, to=to, base=collection.base,
        title=f"{len(collection.loras)} LoRAs, merged", sources=list(collection.loras), facts=facts,
    )  # fmt: skip
    print(f"wrote {given['output']}: {len(found.updates)} matrices; the rank keeps {found.kept:.2%} of the energy")


def _part(action: str, places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.parts import PARTS, part_of
    from experiments.loras.writing import write_made
    from experiments.mining.folder import read_folder

    if given["basis"] is None:
        raise InputError(f"{action} needs --basis, a folder of `adapters mine` or `extract`")
    to = _layout(given)
    name, lora = _one(action, places, given)
    subspace = read_folder(given["basis"], "basis")
    updates, share = part_of(lora, subspace, next(part for part in PARTS if part == action))
    write_made(
        given["output"], updates, lora.modules, to=to, base=lora.base, title=f"{name}: {action}",
        sources=[name], facts={"subspace": subspace.attribute, "share of the energy": f"{share:.2%}"},
    )  # fmt: skip
    print(f"wrote {given['output']}: {share:.2%} of the energy of {name}")


def _convert(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.writing import convert

    if given["to"] == PROJECT:
        _convert_to_project(places, given)
        return
    refuse(["basis", "weights"], "without --to=project")
    to, (name, lora) = _layout(given, of_vggt=True), _one("convert", places, given)
    count, said = convert(lora, given["output"], to)
    for line in said:
        print(line)
    print(f"wrote {given['output']}: {count} matrices of {name} as {to}")


def _convert_to_project(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.inside_vggt import convert_to_project
    from experiments.mining.folder import read_folder
    from experiments.models import read_base
    from weights_convert.lora_write import check_name

    if given["weights"] is None:
        raise InputError("convert --to=project needs --weights, the VGGT that the LoRA belongs to")
    check_name(given["output"], PROJECT)
    name, lora = _one("convert", places, given)
    subspace = None if given["basis"] is None else read_folder(given["basis"], "basis")
    for line in convert_to_project(lora, given["output"], read_base(given["weights"]).identity, subspace):
        print(line)
    print(f"wrote {given['output']}: {len(lora.modules)} matrices of {name} as an adapter of {given['weights']}")


def _start(places: tuple[str, ...], given: dict[str, Any]) -> None:
    from experiments.loras.starting import SCRIPT, write_start
    from experiments.mining.folder import read_folder

    if given["basis"] is None:
        raise InputError("start needs --basis, a folder of `adapters mine` or `extract`")
    subspace = read_folder(given["basis"], "basis")
    if given["weights"] is not None:
        from experiments.loras.inside_vggt import write_vggt_start
        from experiments.models import read_base

        if places:
            raise InputError("start takes a LoRA, or --weights of a VGGT, which says the same, got both")
        name, count = (
            given["weights"],
            write_vggt_start(given["output"], subspace, read_base(given["weights"]).identity),
        )
    else:
        name, lora = _one("start", places, given)
        count = write_start(given["output"], subspace, lora)
    print(
        f"wrote {given['output']}: zero, {count:,} numbers to train inside the subspace (see {SCRIPT} in it), as {name} has it"
    )


def _layout(given: dict[str, Any], *, of_vggt: bool = False) -> Target:
    from weights_convert.lora_write import TARGETS, check_name

    to = given["to"] or "peft"
    if to not in TARGETS:
        known = (*TARGETS, PROJECT) if of_vggt else TARGETS
        raise InputError(f"layouts are {', '.join(known)}, got {to}{nearest(to, known)}", argument="to")
    check_name(given["output"], to)
    return TARGETS[TARGETS.index(to)]


def _one(action: str, places: tuple[str, ...], given: dict[str, Any]) -> tuple[str, LoraFile]:
    from experiments.loras.collection import open_all

    loras = open_all(places, low_rank_part=given["low_rank_part"])
    if len(loras) != 1:
        raise InputError(f"{action} takes one LoRA, got {len(loras)}")
    return next(iter(loras.items()))


def _weights(pairs: Sequence[str]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.rpartition("=")
        try:
            if not equals:
                raise ValueError
            weight = float(value)
        except ValueError:
            raise InputError(f"weights are NAME=NUMBER, with commas, got {pair!r}", argument="weigh") from None
        if name in found:
            raise InputError(f"{name} has two weights, {found[name]:g} and {weight:g}", argument="weigh")
        found[name] = weight
    return found


if __name__ == "__main__":
    from experiments.loras.collection import MODULES
    from experiments.loras.merging import METHODS
    from weights_convert.lora_write import TARGETS

    flags.DEFINE_string("label", "loras", "mine: name of the group, by which analyze knows it")
    flags.DEFINE_integer("dim", 8, "mine: d' of the shared subspace, at most k·r", lower_bound=1)
    flags.DEFINE_float("exponent", 1.0, "mine: of Eq. 1, in (0, 2]: 1 is robust to outliers, 2 is the plain mean")
    DEFINE_store("mine, add: folder that commands share")
    flags.DEFINE_boolean("overwrite", False, "mine, add: make the results again")
    flags.DEFINE_enum(
        "modules", "intersection", list(MODULES), "matrices that all LoRAs have, or that at least two have"
    )
    flags.DEFINE_boolean("low_rank_part", False, "take the low-rank parts of DoRAs, which are refused otherwise")
    flags.DEFINE_enum("method", "mean", list(METHODS), "merge: the rule")
    flags.DEFINE_integer("rank", None, "merge: rank of the result; the largest of the LoRAs' by default", lower_bound=1)
    flags.DEFINE_list("weigh", [], "merge: weights, NAME=NUMBER, with commas; 1 where none is given")
    flags.DEFINE_float("density", 0.2, "merge: share of entries that ties, knots and dare keep")
    flags.DEFINE_integer("seed", 0, "merge: of dare", lower_bound=0)
    DEFINE_path("basis", None, "project, residual, remove, start, convert --to=project: folder of a mined subspace")
    DEFINE_path_or_name("weights", None, "start, convert --to=project: the VGGT that it is about, as extract takes it")
    DEFINE_path_or_name(
        "to",
        None,
        f"layout of what is written, {', '.join(TARGETS)} (peft if not given), convert of LoRAs of a VGGT also {PROJECT}; add: "
        "folder of a mined subspace",
    )
    DEFINE_path(
        "output", None, "what is written; a new folder, or with --to=diffusers, kohya or project a new .safetensors"
    )
    run(main, positional=True, flag_of={"weights": "weigh"})
