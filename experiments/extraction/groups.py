"""k adapters that do not all fit at once: groups of them, each a training of its own that stops and goes on by itself.

An adapter's result does not depend on the others of its group, so that groups may be formed anew whenever some are done.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.accelerators.present import PIXELS
from experiments.storage.files import read_json, reading, write_bytes, write_json
from experiments.training.metrics_log import read_metrics
from subspace.errors import InputError

FOLDER = "groups"
"""Folder below that of all adapters, with one folder for each group."""
RECORD = "group.json"
"""Written last: the adapters' names and their losses on held-out scenes, before and after training."""

Losses = Mapping[str, Mapping[str, Sequence[list[float]]]]
"""``before`` and ``after`` training → "loss" and its terms → of each adapter the values on its held-out scenes."""


@dataclass(frozen=True)
class Member:
    """An adapter whose group is done."""

    group: Path
    """The group's folder."""
    place: int
    """Among the group's adapters."""
    losses: Mapping[str, Mapping[str, list[float]]]
    """``before`` and ``after`` training → "loss" and its terms → values on held-out scenes."""


def group_size(at_once: int | None, k: int, devices: int, pixels: int, *, on_cpu: bool) -> int:
    """Number of adapters that are trained together.

    Args:
        at_once: adapters that a device trains at a time; None for all on a CPU, and on an accelerator as many as together
            have no more pixels in a step than 32 pictures of 518².
        k: number of adapters, at least as many as devices.
        devices: along ``adapter``.
        pixels: of one adapter's step.
        on_cpu: whether the devices are CPUs.
    """
    share = k // devices  # what is left over is a group of its own, which the others can fill up
    if at_once is None:
        at_once = share if on_cpu else max(1, PIXELS // pixels)
    return devices * min(at_once, share)


def groups_of(k: int, size: int, devices: int, done: Collection[int] = ()) -> list[tuple[int, ...]]:
    """Places of the adapters that are trained together, group by group.

    The last group is filled up with others, whose results nobody needs, until the devices along ``adapter`` share it evenly.

    Args:
        k: number of adapters, at least as many as devices.
        size: of a group, a multiple of ``devices``.
        devices: along ``adapter``.
        done: places of the adapters that are trained already.
    """
    left = [place for place in range(k) if place not in done]
    found = [left[first : first + size] for first in range(0, len(left), size)]
    if found:
        last = found[-1]
        others = [place for place in range(k) if place not in last]
        last += others[: -len(last) % devices]
    return [tuple(sorted(group)) for group in found]


def folder_of(folder: Path, numbers: Iterable[int]) -> Path:
    """Where the group of these data sets is trained, below the folder of all."""
    return folder / FOLDER / "_".join(f"{number:02d}" for number in numbers)


def write_record(folder: Path, names: Sequence[str], losses: Losses) -> None:
    """Say that the group in ``folder`` is done."""
    write_json(folder / RECORD, {"adapters": list(names), **losses}, durable=True)


def finished(folder: Path) -> dict[str, Member]:
    """The adapters of all groups below ``folder`` that are done, by their names.

    Raises InputError for a damaged record, and OSError for one that cannot be read.
    """
    found = {}
    for record in sorted(folder.glob(f"{FOLDER}/*/{RECORD}")):
        content = read_json(record, dict)
        with reading(record):
            for place, name in enumerate(content["adapters"]):
                losses = {
                    when: {term: values[place] for term, values in content[when].items()}
                    for when in ("before", "after")
                }
                found[name] = Member(record.parent, place, losses)
    return found


def joined_losses(members: Sequence[Member]) -> Losses:
    """The members' losses as if they had been of one group."""
    first = members[0].losses
    return {when: {term: [one.losses[when][term] for one in members] for term in first[when]} for when in first}


def join_metrics(members: Sequence[Member], name: str, path: Path) -> None:
    """Write the groups' logs as one, as if the members had been of one group.

    Args:
        members: the adapters in order.
        name: of the logs in the groups' folders.
        path: of the new file.

    Raises:
        InputError: logs of different steps, or a damaged one.
        OSError: something cannot be read or written.
    """
    logs = {member.group: read_metrics(member.group / name) for member in members}
    places = [[(event["step"], event["kind"]) for event in log] for log in logs.values()]
    if any(other != places[0] for other in places):
        raise InputError(f"{path.parent / FOLDER}: the groups' {name} are not of the same steps")
    lines = []
    for number, (step, kind) in enumerate(places[0]):
        own = [logs[member.group][number] for member in members]
        terms = [term for term in own[0] if term not in ("step", "kind")]
        values = {
            term: [event[term][member.place] for event, member in zip(own, members, strict=True)] for term in terms
        }
        lines.append(json.dumps({"step": step, "kind": kind, **values}) + "\n")
    write_bytes(path, "".join(lines).encode())
