"""Adapters on disk: one safetensors file with the factors, and a header that says what they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import ml_dtypes
import msgspec
import numpy as np
from flax import nnx
from safetensors.numpy import save

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.atomic import write_bytes
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import Update, WeightDecomposed, dotted
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.safetensors_file import SafetensorsFile

KEY = "attribute_subspaces_adapter"
"""The entry of the file's metadata that holds the header, in JSON."""
_VERSION = 1
_SAMPLES = 256
"""Weights of each parameter that enter a fingerprint."""


@dataclass(frozen=True)
class BaseModel:
    """The model whose weights an adapter changes."""

    name: str
    """For people, such as "nano"."""
    fingerprint: str
    """What tells two models apart, see :func:`fingerprint`."""
    config: VGGTConfig

    @classmethod
    def of(cls, name: str, config: VGGTConfig, base: nnx.State) -> BaseModel:
        """The model that has the configuration ``config`` and the parameters ``base``."""
        return cls(name, fingerprint(base), config)


@dataclass(frozen=True, eq=False)
class Adapter:
    """Changes of a base model's weights, with what is to be known about them."""

    deltas: Mapping[str, Update]
    """What the model takes, scale included."""
    base: BaseModel
    scale: float = 1.0
    """The factor that every A contains: alpha / rank of a LoRA, which goes on training in the same way with it."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: method, settings, data, seeds; anything that JSON can hold."""


def _parts(name: str, delta: Update) -> dict[str, Any]:
    """The tensors of an update by their names in the file."""
    low_rank = delta if isinstance(delta, LowRank) else delta.direction
    own = {f"{name}.A": low_rank.A, f"{name}.B": low_rank.B}
    return own if isinstance(delta, LowRank) else {**own, f"{name}.magnitude": delta.magnitude}


def check_belongs(path: Path, name: str, fingerprint: str, base: BaseModel) -> None:
    """Raises InputError if the adapter at ``path``, of the model with this name and fingerprint, is not of ``base``."""
    if fingerprint != base.fingerprint:
        raise InputError(
            f"{path}: this adapter belongs to the model {name} ({fingerprint}), not to {base.name} ({base.fingerprint})"
        )


def fingerprint(base: nnx.State) -> str:
    """16 hexadecimal digits that differ between models: of the aggregator's parameter names, shapes and values.

    Of each parameter, about 256 values spread over it are read, rounded to bfloat16: the digits are the same for a model
    stored in bfloat16 and with fewer heads.
    """
    digest = hashlib.sha256()
    leaves = {dotted(keys): leaf for keys, leaf in nnx.to_flat_state(base)}
    for path in sorted(path for path in leaves if path.startswith("aggregator.")):
        values = np.asarray(leaves[path][...]).reshape(-1)
        digest.update(f"{path} {leaves[path].shape}".encode())
        digest.update(values[:: max(1, len(values) // _SAMPLES)].astype(ml_dtypes.bfloat16).tobytes())
    return digest.hexdigest()[:16]


def save_adapter(path: str | PathLike[str], adapter: Adapter) -> None:
    """Writes ``adapter`` as float32; the file appears under its name once it is complete, in place of an older one.

    The tensors are called ``PATH.A`` (*stack, n, r) and ``PATH.B`` (*stack, m, r), and of weight-decomposed updates
    ``PATH.magnitude`` (*stack, n).

    Raises:
        InputError: what :func:`load_adapter` would refuse: NaN, infinity, numbers that float32 cannot hold, updates of rank
            0, a header that JSON cannot hold. What lies at ``path`` stays.
        OSError: the disk is full or cannot be written.
    """
    tensors = {
        part: np.ascontiguousarray(_finite(values, f"{path}: {part}"))
        for name, delta in adapter.deltas.items()
        for part, values in _parts(name, delta).items()
    }
    header = {
        "version": _VERSION,
        "base": {
            "name": adapter.base.name,
            "fingerprint": adapter.base.fingerprint,
            "config": adapter.base.config.to_dict(),
        },
        "matrices": {
            name: {
                "shape": delta.shape,
                "rank": delta.rank,
                **({} if isinstance(delta, LowRank) else {"weight_decomposed": True}),
            }
            for name, delta in adapter.deltas.items()
        },
        "scale": adapter.scale,
        "about": dict(adapter.about),
    }
    try:
        text = json.dumps(header)
        _parsed(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: this adapter could not be read again, nothing was written ({error})") from None
    content = save(tensors, {KEY: text})
    write_bytes(Path(path), content, durable=True)


def load_adapter(path: str | PathLike[str], base: BaseModel | None = None) -> Adapter:
    """The adapter that :func:`save_adapter` wrote, in float32; of the model ``base``, if that is given.

    Raises:
        ValueError: a file that is cut off or of another kind, tensors that are missing, unexpected or differ from the
            header (all of them in one message), an adapter of another base model.
        OSError: a file that is missing or cannot be read.
    """
    path = Path(path)
    file = SafetensorsFile(path)
    file.check_unique()
    header = read_header(path, file.metadata)
    found = BaseModel(header.base.name, header.base.fingerprint, header.base_config(path))
    announced = {
        f"{name}.{side}": (*entry.shape[:-2], entry.shape[-2 if side == "A" else -1], entry.rank)
        for name, entry in header.matrices.items()
        for side in "AB"
    }
    decomposed = {name for name, entry in header.matrices.items() if entry.weight_decomposed}
    announced |= {f"{name}.magnitude": header.matrices[name].shape[:-1] for name in decomposed}
    if base is not None:
        check_belongs(path, found.name, found.fingerprint, base)
    problems = [f"missing: {name}" for name in announced if name not in file.tensors]
    problems += [f"unexpected: {name}" for name in file.tensors if name not in announced]
    problems += [
        f"wrong shape: {name} {file.tensors[name].shape}, the header says {shape}"
        for name, shape in announced.items()
        if name in file.tensors and file.tensors[name].shape != shape
    ]
    if problems:
        raise InputError(f"{path}: tensors do not fit the header:\n  " + "\n  ".join(problems))
    tensors = {name: _finite(file.read(name), f"{path}: {name}") for name in file.tensors}
    deltas: dict[str, Update] = {}
    for name in header.matrices:
        low_rank = LowRank(jnp.asarray(tensors[f"{name}.A"]), jnp.asarray(tensors[f"{name}.B"]))
        deltas[name] = low_rank
        if name in decomposed:
            deltas[name] = WeightDecomposed(low_rank, jnp.asarray(tensors[f"{name}.magnitude"]))
    return Adapter(deltas, found, header.scale, header.about)


def _finite(values: Any, label: str) -> np.ndarray:
    """The values as float32; raises InputError that names them for those that are no finite number in it."""
    with np.errstate(over="ignore"):
        stored = np.asarray(values).astype(np.float32, copy=False)
    if not np.isfinite(stored).all():
        raise InputError(f"{label} has NaN or infinity")
    return stored


class _Matrix(msgspec.Struct, frozen=True):
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=2)]
    rank: Annotated[int, msgspec.Meta(ge=1)]
    weight_decomposed: bool = False


class _Base(msgspec.Struct, frozen=True):
    name: str
    fingerprint: str
    config: dict[str, Any]


class Header(msgspec.Struct, frozen=True):
    """What the metadata of a file say."""

    version: int
    base: _Base
    """The model."""
    matrices: dict[str, _Matrix]
    """Path → shape of the stacked weight, and rank."""
    scale: float
    """See :class:`Adapter`."""
    about: dict[str, Any]
    """See :class:`Adapter`."""

    def base_config(self, path: Path) -> VGGTConfig:
        """The model's configuration; raises InputError that names the file."""
        try:
            return VGGTConfig.from_json(self.base.config)
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: the header of this adapter cannot be read ({error})") from None


def read_header(path: Path, metadata: Mapping[str, str]) -> Header:
    """What the metadata of an adapter's file say; raises InputError that names the file."""
    text = metadata.get(KEY)
    if text is None:
        raise InputError(f"{path}: not an adapter of this project (its header has no {KEY})")
    try:
        return _parsed(text)
    except ValueError as error:
        raise InputError(f"{path}: the header of this adapter cannot be read ({error})") from None


def _parsed(text: str) -> Header:
    """The header in JSON; raises ValueError, as msgspec's errors are."""
    content = parse_json(text)
    version = content.get("version") if isinstance(content, dict) else None
    if version != _VERSION:
        raise InputError(f"version {version}, this program reads {_VERSION}")
    return typed.convert(content, Header)
