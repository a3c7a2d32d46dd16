"""Weights of a VGGT from any source, as parameters of this project's model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
from flax import nnx

from subspace.errors import InputError
from vggt_jax.config import DType, Head, VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.model import VGGT
from vggt_jax.parameters import abstract_model
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.safetensors_file import TYPES, Shape
from weights_convert.inference import infer_config
from weights_convert.names import OFFICIAL, leaf_shapes, without_absent_heads
from weights_convert.sources import CONFIG, Source, Tensors, open_source
from weights_convert.table import Piece, Rule, Table, common_type
from weights_convert.trained_names import foreign

_LOGGER = logging.getLogger("attribute_subspaces")

CONVERTED = Table([Rule("{path}", "{path}")], {"path": ".+"})
"""This project's own files: every tensor is a whole leaf under the leaf's path."""
CONFIG_KEY = "vggt_config"
"""The entry of a safetensors file's metadata that holds a configuration in JSON."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights that were compared with a configuration's parameters, and fit; nothing is read yet."""

    config: VGGTConfig
    path: Path
    form: str
    """What kind of names and layouts the tensors have: "official" or "converted"."""
    leaves: Mapping[str, Shape]
    """Dotted path → shape of every parameter."""
    types: Mapping[str, np.dtype]
    """Dotted path → stored type; of layers that differ, one that holds them all."""
    remarks: tuple[str, ...]
    """What the user should know of how the weights were found."""
    _tensors: Tensors
    _pieces: Mapping[tuple[str, int | None], Piece]

    def read(self, path: str, layer: int | None = None) -> np.ndarray:
        """The parameter at ``path``, or its slice ``layer``, in this project's layout and the stored type.

        Of a parameter that is stacked over layers, one layer is read at a time from either form.
        """
        piece = self._pieces.get((path, layer))
        if piece is not None:
            return piece.transform.forward(self._tensors.read(piece.name))
        if layer is not None:
            return self._tensors.read(path, layer)
        leaf = np.empty(self.leaves[path], self.types[path])
        for i in range(len(leaf)):
            leaf[i] = self.read(path, i)
        return leaf

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(prod(shape) for shape in self.leaves.values())


def load_vggt(
    source: str | PathLike[str],
    *,
    config: VGGTConfig | None = None,
    heads: Sequence[Head] | None = None,
    dtype: DType = "float32",
) -> VGGT:
    """The model with the weights at ``source``; its sizes are in ``model.config``.

    Memory stays below the model plus twice its largest parameter; of a PyTorch file, the pages that were read count as well
    until the system needs them for something else.

    Args:
        source: official weights (safetensors, PyTorch, a Hugging Face snapshot, ``hf:facebook/VGGT-1B``) or a folder that
            ``python -m weights_convert`` wrote; see :func:`weights_convert.sources.open_source`.
        config: sizes and run-time choices, in place of :func:`read_config`'s; start from that and ``replace`` what should
            differ, such as ``remat`` or the compute types.
        heads: the heads to load, all that the source has if None.
        dtype: type of the parameters, whatever the stored one is.

    Raises:
        InputError: files that are corrupt or of another kind, tensors that are missing, unexpected, given twice or wrongly
            shaped (all of them in one message), an unknown ``dtype``.
        OSError: files that are missing or cannot be read or fetched.
    """
    if dtype not in get_args(DType):
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(get_args(DType))}")
    checkpoint = open_checkpoint(source, config=config, heads=heads, dtype=dtype)
    for remark in checkpoint.remarks:
        _LOGGER.warning("%s: %s", checkpoint.path, remark)
    graphdef, params = _abstract(checkpoint.config)
    return nnx.merge(
        graphdef,
        nnx.from_flat_state(
            (keys, leaf.replace(jnp.asarray(checkpoint.read(dotted(keys)), dtype)))
            for keys, leaf in nnx.to_flat_state(params)
        ),
    )


def read_config(source: str | PathLike[str]) -> VGGTConfig:
    """The configuration of the weights at ``source``: from its config.json or metadata, else from the tensors' shapes.

    Raises as :func:`load_vggt` does; only the tensors' fit is not checked.
    """
    opened = open_source(source)
    _check_is_vggt(opened)
    return _config(opened)


def open_checkpoint(
    source: str | PathLike[str],
    *,
    config: VGGTConfig | None = None,
    heads: Sequence[Head] | None = None,
    dtype: DType | None = None,
) -> Checkpoint:
    """Opens the weights at ``source`` and compares them with ``config``; arguments and errors as in :func:`load_vggt`.

    With a ``dtype``, to which the caller converts them, the layers of a stack may have several types.
    """
    opened = open_source(source)
    _check_is_vggt(opened)
    config = _config(opened) if config is None else config
    if heads is not None:
        if absent := [head for head in heads if head not in config.heads]:
            raise InputError(
                f"{opened.path}: has no head {', '.join(absent)}, only {', '.join(config.heads) or 'none'}"
            )
        config = replace(config, heads=tuple(heads))
    tensors, leaves = opened.tensors, leaf_shapes(_abstract(config)[1])
    table = CONVERTED if _is_converted(tensors) else OFFICIAL
    problems = _type_problems(tensors, leaves, table, may_differ=dtype is not None)
    try:
        plan = table.plan(without_absent_heads(tensors.shapes, config), leaves, problems)
    except InputError as error:
        raise InputError(f"{opened.path}: {error}") from None
    types: dict[str, np.dtype] = {}
    for piece in plan:
        stored = TYPES[tensors.types[piece.name]]
        types[piece.path] = common_type(types.get(piece.path, stored), stored)
    return Checkpoint(
        config,
        opened.path,
        "converted" if table is CONVERTED else "official",
        leaves,
        types,
        tuple(tensors.remarks),
        tensors,
        {(piece.path, piece.layer): piece for piece in plan},
    )


@lru_cache(maxsize=4)
def _abstract(config: VGGTConfig) -> tuple[nnx.GraphDef[VGGT], nnx.State]:
    """The model's structure and the shapes of its parameters."""
    return nnx.split(abstract_model(config), nnx.Param)


def _is_converted(tensors: Tensors) -> bool:
    """Whether names are this project's: PyTorch's have no "kernel"."""
    return any(name.endswith(".kernel") for name in tensors.shapes)


def _type_problems(tensors: Tensors, leaves: Mapping[str, Shape], table: Table, *, may_differ: bool) -> list[str]:
    """The source's own problems and those with the types of the tensors that will be read."""
    problems = list(tensors.problems)
    by_path: dict[str, set[str]] = {}
    for name, piece in table.names(leaves).items():
        if name in tensors.types:
            if tensors.types[name] not in TYPES:
                problems.append(f"wrong type: {name} {tensors.types[name]}, weights are {', '.join(TYPES)}")
            by_path.setdefault(piece.path, set()).add(tensors.types[name])
    if may_differ:
        return problems
    return problems + [
        f"several types: the layers of {path} are {', '.join(sorted(types))}; name a dtype to convert them to"
        for path, types in by_path.items()
        if len(types) > 1
    ]


def _check_is_vggt(source: Source) -> None:
    if (model := foreign(source.tensors.shapes)) is not None:
        raise InputError(f"{source.path}: no VGGT: looks like {model}")


def _config(source: Source) -> VGGTConfig:
    if CONFIG_KEY in source.tensors.metadata:
        return _parse(source.tensors.metadata[CONFIG_KEY], f"{source.path}: the configuration in its metadata")
    place = source.path.parent / CONFIG
    content = source.config
    if content is not None and ("width" in content or "dino" in content):
        return _parse(content, str(place))
    if _is_converted(source.tensors):
        raise InputError(
            f"{place}: needed with converted weights, but {'is missing' if content is None else 'not ours'}"
        )
    try:
        inferred = infer_config(source.tensors.shapes)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    if content is None:
        return inferred
    # The Hugging Face form has the official constructor's three sizes; tensors show them and all others.
    sizes = {"img_size": inferred.image_size, "patch_size": inferred.patch_size, "embed_dim": inferred.width}
    if not sizes.keys() & content.keys():
        raise InputError(f"{place}: has no sizes of a VGGT; move it away if it belongs to something else")
    for key, size in sizes.items():
        if content.get(key, size) != size:
            raise InputError(f"{place}: says {key} {content[key]}, the tensors in {source.path.name} have {size}")
    return inferred


def _parse(content: str | Mapping[str, Any], place: str) -> VGGTConfig:
    try:
        return VGGTConfig.from_json(parse_json(content) if isinstance(content, str) else content)
    except KeyError as error:
        raise InputError(f"{place}: has no {error.args[0]}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{place}: {error}") from None
