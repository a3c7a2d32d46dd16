"""Data sets in few large files: a scene is one, whose views are still read alone, and every command reads it as before.

``python -m experiments.pack --data=runs/data/LABEL/dataset_00,… --output=packed`` writes ``packed/dataset_00``, … with the very
same pictures, labels, normals and cameras. So is depth, and then it is the same data set, whose adapters and fine-tunings are
found again; ``--depth=rounded`` takes fewer bytes (at most 0.00095 off, relatively) and is another one. ``--replace`` puts
packed data sets in the place of those that they are made from.

Interrupted, the command goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.data.packed import DepthKind
from experiments.process.command_line import DEFINE_path, InputError, refuse, run
from experiments.process.reporting import console
from experiments.storage.store_flags import DEFINE_stored


def name_of(folder: Path) -> str:
    """Also of ``.`` and ``..``."""
    return Path(os.path.abspath(folder)).name


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if not given.data:
        raise InputError("--data: name at least one data set, a folder with a manifest.json")
    from experiments.data.packing import Packed, pack, replace

    if given.replace:
        refuse(("output", "depth"), "with --replace, which keeps each data set where and what it is")
    elif given.output is None:
        raise InputError("--output: name a folder for the packed data sets, or ask to --replace them")
    elif len({name_of(folder) for folder in given.data}) < len(given.data):
        raise InputError(
            "--data: two data sets have one name, and would go to one folder; pack them into different ones"
        )
    for folder in given.data:
        if given.replace:
            done: Packed = replace(folder, console())
        else:
            done = pack(folder, given.output / name_of(folder), given.depth, console())
        before, after = (count / done.views / 1e3 for count in (done.bytes_before, done.bytes))
        did = "wrote" if done.written else "nothing to do:"
        print(f"{did} {done.folder}, {done.views} views: {after:,.0f} kB a view, before {before:,.0f} kB")


if __name__ == "__main__":
    DEFINE_stored("data", [], "folders of finished data sets, with commas")
    DEFINE_path("output", None, "folder that gets a packed data set of the same name for each")
    flags.DEFINE_enum(
        "depth",
        "exact",
        list(get_args(DepthKind)),
        "exact: the same data set; rounded: another one, of fewer bytes, at most 0.00095 off, relatively",
    )
    flags.DEFINE_boolean("replace", False, "put packed data sets in the place of those that they are made from")
    run(main)
