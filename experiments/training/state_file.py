"""A training state as safetensors: one file of each process, with the parts of the arrays that are its to write."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np

from experiments.storage.files import reading
from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.safetensors_file import ALL_TYPES, SafetensorsFile, SafetensorsWriter

_PARTS = "parts"
"""In the metadata: name of a tensor → :class:`_Part`, as JSON."""


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    """Where in an array of the state a tensor belongs."""

    of: str
    shape: tuple[int, ...]
    """Of the array."""
    start: tuple[int, ...]
    """Of the tensor in it."""


def write_state(folder: Path, state: Any) -> None:
    """Writes what this process has of ``state``, a tree of arrays; every process of a job calls it.

    All of it is on the disk when this returns, and nothing goes on being written when it raises.
    """
    tensors: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    parts: dict[str, _Part] = {}
    data: dict[str, jax.Array] = {}
    for name, leaf in _named(state):
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                start = tuple(part.start or 0 for part in shard.index)
                key = name if shard.data.shape == leaf.shape else f"{name} from {', '.join(map(str, start))}"
                tensors[key], data[key] = (np.dtype(leaf.dtype), shard.data.shape), shard.data
                parts[key] = _Part(name, leaf.shape, start)
    with (folder / f"{jax.process_index()}.safetensors").open("wb") as file:
        writer = SafetensorsWriter(file, tensors, {_PARTS: json.dumps(msgspec.to_builtins(parts))})
        for values in data.values():
            writer.append(np.asarray(values))
        writer.finish()
        file.flush()
        os.fsync(file.fileno())


def read_state(folder: Path, like: Any) -> Any:
    """What :func:`write_state` wrote, with the types, shapes and shardings of ``like``, which may be others than then.

    Raises InputError if a file is damaged, or an array is missing or of another form.
    """
    found: dict[str, list[tuple[SafetensorsFile, str, _Part]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        file = SafetensorsFile(path)
        with reading(path):
            parts = typed.convert(parse_json(file.metadata.get(_PARTS, "")), dict[str, _Part])
        if parts.keys() != file.tensors.keys() or file.repeated:
            raise InputError(f"{path}: its tensors are not those that it says it has")
        for key, part in parts.items():
            found.setdefault(part.of, []).append((file, key, part))
    wanted = dict(_named(like))
    if differing := sorted(wanted.keys() ^ found.keys()):
        raise InputError(f"{folder}: {differing[0]} is only in {'the run' if differing[0] in wanted else 'the file'}")
    leaves = [_array(folder, name, leaf, found[name]) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(state: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree.leaves_with_path(state):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _array(folder: Path, name: str, like: Any, found: list[tuple[SafetensorsFile, str, _Part]]) -> jax.Array:
    """An array of the state from its parts, which must cover it."""
    whole, covered = np.empty(like.shape, like.dtype), 0
    for file, key, part in found:
        shape = file.tensors[key].shape
        fits = len(part.start) == len(shape) == whole.ndim and part.shape == whole.shape
        places = tuple(slice(start, start + size) for start, size in zip(part.start, shape, strict=False))
        if not fits or whole[places].shape != shape or ALL_TYPES.get(file.tensors[key].type) != whole.dtype:
            raise InputError(f"{file.path}: {key} is of another form than {name} of the run")
        whole[places] = file.read(key, types=ALL_TYPES)
        covered += math.prod(shape)
    if covered != whole.size:
        raise InputError(f"{folder}: a part of {name} is missing")
    return jax.make_array_from_callback(whole.shape, like.sharding, lambda index: whole[index])
