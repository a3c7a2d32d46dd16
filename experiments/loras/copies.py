"""Copies of LoRAs beside their subspace, as ``analyze`` reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import write_bytes
from subspace import LowRank
from subspace.grouping import Layout

KEPT = 2**30
"""Copies are kept up to this many bytes."""


def write_copies(
    folder: Path,
    adapters: Mapping[str, Callable[[str], LowRank]],
    layouts: Mapping[str, Layout],
    reporter: Reporter = SILENT,
) -> None:
    """Write every LoRA, unless they are too large together.

    Args:
        folder: new.
        adapters: name → what reads the update of a matrix.
        layouts: the matrices, with the rank that all copies get.
        reporter: is told of copies that are not made.
    """
    size = sum(4 * layout.rank * (layout.n + layout.m) for layout in layouts.values()) * len(adapters)
    if size > KEPT:
        reporter.info(
            f"the LoRAs ({size / 2**30:.1f} GiB) are not copied: analyze can compare subspaces, but not halves"
        )
        return
    folder.mkdir()
    for name, read in adapters.items():
        tensors: dict[str, np.ndarray] = {}
        for path, layout in layouts.items():
            update = read(path).widened(layout.rank)
            for side, factor in (("A", update.A), ("B", update.B)):
                tensors[f"{path}.{side}"] = np.ascontiguousarray(factor, np.float32)
        write_bytes(folder / f"{name}.safetensors", save(tensors))
