"""Adapters on disk: one safetensors file with the factors, and a header that says what they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.atomic import write_bytes
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import Update, WeightDecomposed, dotted

_KEY = "attribute_subspaces_adapter"
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


def save_adapter(path: Path, adapter: Adapter) -> None:
    """Writes ``adapter`` as float32; the file appears under its name once it is complete, in place of an older one.

    The tensors are called ``PATH.A`` (*stack, n, r) and ``PATH.B`` (*stack, m, r), and of weight-decomposed updates
    ``PATH.magnitude`` (*stack, n).
    """
    tensors = {
        part: np.ascontiguousarray(values, np.float32)
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
    content = save(tensors, {_KEY: json.dumps(header)})
    write_bytes(path, content, durable=True)


def load_adapter(path: Path, base: BaseModel | None = None) -> Adapter:
    """The adapter that :func:`save_adapter` wrote, in float32; of the model ``base``, if that is given.

    Raises:
        ValueError: a file that is cut off or of another kind, tensors that are missing, unexpected or differ from the
            header (all of them in one message), an adapter of another base model.
        OSError: a file that is missing or cannot be read.
    """
    tensors, text = _read(path)
    try:
        header = json.loads(text)
        if header["version"] != _VERSION:
            raise InputError(f"version {header['version']}, this program reads {_VERSION}")
        stored = header["base"]
        found = BaseModel(stored["name"], stored["fingerprint"], VGGTConfig.from_json(stored["config"]))
        announced = {
            f"{name}.{side}": (*shape[:-2], shape[-2 if side == "A" else -1], entry["rank"])
            for name, entry in header["matrices"].items()
            for shape in [entry["shape"]]
            for side in "AB"
        }
        decomposed = {name for name, entry in header["matrices"].items() if entry.get("weight_decomposed")}
        announced |= {f"{name}.magnitude": tuple(header["matrices"][name]["shape"][:-1]) for name in decomposed}
        names, scale, about = list(header["matrices"]), float(header["scale"]), header["about"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: the header of this adapter cannot be read ({error!r})") from None
    if base is not None and found.fingerprint != base.fingerprint:
        raise InputError(
            f"{path}: this adapter belongs to the model {found.name} ({found.fingerprint}), "
            f"not to {base.name} ({base.fingerprint})"
        )
    problems = [f"missing: {name}" for name in announced if name not in tensors]
    problems += [f"unexpected: {name}" for name in tensors if name not in announced]
    problems += [
        f"wrong shape: {name} {tensors[name].shape}, the header says {shape}"
        for name, shape in announced.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        raise InputError(f"{path}: tensors do not fit the header:\n  " + "\n  ".join(problems))
    deltas: dict[str, Update] = {}
    for name in names:
        low_rank = LowRank(jnp.asarray(tensors[f"{name}.A"]), jnp.asarray(tensors[f"{name}.B"]))
        deltas[name] = low_rank
        if name in decomposed:
            deltas[name] = WeightDecomposed(low_rank, jnp.asarray(tensors[f"{name}.magnitude"]))
    return Adapter(deltas, found, scale, about)


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of an adapter's file and its header's text."""
    with path.open("rb"):  # safetensors names neither the file nor, of a folder, what is wrong
        pass
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise InputError(f"{path}: not an adapter of this project (its header has no {_KEY})")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file, or cut off") from error
    return tensors, text
