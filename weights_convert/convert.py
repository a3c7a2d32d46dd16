"""Writes weights in this project's form or back in the official one, a tensor at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from subspace.errors import InputError
from vggt_jax.atomic import check_absent, new_path
from vggt_jax.config import DType
from vggt_jax.reading.safetensors_file import TYPES, SafetensorsWriter, header_and_size
from weights_convert.checkpoint import CONFIG_KEY, Checkpoint
from weights_convert.names import OFFICIAL
from weights_convert.sources import CONFIG

Form = Literal["jax", "official"]
WEIGHTS = "model.safetensors"
_EXPONENT = 0x7F80
"""Bits of a bfloat16 that are all set in NaN and infinity."""
_TYPES_BY_NAME = {"float32": TYPES["F32"], "bfloat16": TYPES["BF16"]}


def convert(
    checkpoint: Checkpoint,
    output: str | PathLike[str],
    *,
    to: Form = "jax",
    dtype: DType | None = None,
    allow_nonfinite: bool = False,
    progress: Callable[[int, int], object] = lambda written, total: None,
) -> int:
    """Writes all parameters of ``checkpoint``; holds one layer of one of them in memory at a time.

    Args:
        checkpoint: what to write, from :func:`weights_convert.checkpoint.open_checkpoint`.
        output: of ``to="jax"`` a folder, which gets ``model.safetensors`` (parameters under their paths, stacked over
            layers) and ``config.json``; of ``to="official"`` a safetensors file with the official names and layouts,
            whose metadata holds the configuration. It appears once it is complete.
        to: the form to write.
        dtype: type to write (bfloat16 is rounded to nearest, ties to even; float64 first to float32); as stored if None, bit
            by bit.
        allow_nonfinite: take NaN and infinity for weights; otherwise they are an error.
        progress: is called after every layer with the bytes written so far, and those of the whole file.

    Returns:
        The number of bytes of the weights' file.

    Raises:
        FileExistsError: the output exists.
        InputError: an official output whose name does not end in .safetensors, a source that ends early, NaN or infinity
            among the weights, or numbers that ``dtype`` cannot hold.
        OSError: the disk is full, a file cannot be read or written.
    """
    output = Path(output)
    check_output(output, to)
    types = {path: _TYPES_BY_NAME[dtype] if dtype else stored for path, stored in checkpoint.types.items()}
    # Wide types first, so that every tensor of a file of mixed types is aligned.
    leaves = dict(sorted(checkpoint.leaves.items(), key=lambda leaf: -types[leaf[0]].itemsize))
    pieces = OFFICIAL.names(leaves)
    config = json.dumps(checkpoint.config.to_dict(), indent=None if to == "official" else 2)
    if to == "official":
        tensors = {name: (types[piece.path], piece.source_shape(leaves[piece.path])) for name, piece in pieces.items()}
        metadata = {"format": "pt", CONFIG_KEY: config}
    else:
        tensors = {path: (types[path], shape) for path, shape in leaves.items()}
        metadata = {}
    size = header_and_size(tensors, metadata)[1]
    with new_path(output, check=check_absent, size=size, alone=True) as target:
        if to == "jax":
            target.mkdir()
            _write_text(target / CONFIG, config + "\n")
            target /= WEIGHTS
        with target.open("xb") as file:
            writer = SafetensorsWriter(file, tensors, metadata)
            for piece in pieces.values():  # the layers of a stack follow each other, in the order of the file
                layer = checkpoint.read(piece.path, piece.layer)
                if not (allow_nonfinite or _is_finite(layer)):
                    raise InputError(
                        f"{checkpoint.path}: {piece.name} has NaN or infinity: the file is damaged, or training had diverged",
                        argument="allow_nonfinite",
                    )
                if to == "official":
                    layer = piece.restore(layer)
                written = layer.astype(types[piece.path], copy=False)
                if not (allow_nonfinite or written is layer or _is_finite(written)):
                    raise InputError(
                        f"{checkpoint.path}: {piece.name} has numbers that {types[piece.path]} cannot hold",
                        argument="dtype",
                    )
                writer.append(written)
                progress(file.tell(), size)
            writer.finish()
            _sync(file.fileno(), file.flush)
    return size


def check_output(output: Path, to: Form) -> None:
    """Raises what :func:`convert` would about its output's name, without any weights at hand."""
    if to == "official" and (output.suffix != ".safetensors" or output.is_dir()):
        raise InputError(f"{output}: official weights are one file, whose name must end in .safetensors")
    check_absent(output)


def _is_finite(values: np.ndarray) -> bool:
    if values.dtype == TYPES["BF16"]:  # whose own isfinite takes ten times as long
        return not ((values.view(np.uint16) & _EXPONENT) == _EXPONENT).any()
    return bool(np.isfinite(values).all())


def _write_text(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        _sync(file.fileno(), file.flush)


def _sync(descriptor: int, flush: Callable[[], object]) -> None:
    """To the disk, so that the file that gets the final name is whole even after a power cut."""
    flush()
    os.fsync(descriptor)
