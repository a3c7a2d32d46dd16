"""What identifies finished work: its settings by their declared types, hashed into the name of its folder.

Commands share and resume work because equal settings give equal names and different settings give different ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from vggt_jax.reading import typed

_IGNORED, _IGNORED_DEFAULT = "identity_ignores", "identity_ignores_default"
NO_EFFECT: Mapping[str, bool] = {_IGNORED: True}
"""Metadata of a dataclass field that no result depends on: ``workers: int = field(default=1, metadata=NO_EFFECT)``."""
NO_EFFECT_BY_DEFAULT: Mapping[str, bool] = {_IGNORED_DEFAULT: True}
"""Metadata of a field that came later, and whose default is what was done before: work of then keeps its name."""


def identity(settings: Any) -> Any:
    """Settings as JSON can hold them, the same for settings that are equal.

    Every field of a dataclass (nested ones too) takes part, unless its metadata is :data:`NO_EFFECT`, so that a new field
    counts from the day on which it is added; with :data:`NO_EFFECT_BY_DEFAULT` only where it is not its default. Values are
    converted by the declared types: in a ``float`` field 8 and 8.0 are the same, a tuple is a list, a path is a string. Where
    a field holds an instance of a subclass of its declared dataclass, the name of that class counts too.

    Args:
        settings: a dataclass or msgspec struct, or mappings and sequences of such.

    Raises:
        TypeError: a value is not of its declared type, which is a fault of the program.
    """
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        kinds = get_type_hints(type(settings))
        return {
            field.name: _by_declared_type(
                getattr(settings, field.name), kinds[field.name], f"{type(settings).__name__}.{field.name}"
            )
            for field in dataclasses.fields(settings)
            if not field.metadata.get(_IGNORED, False)
            and not (field.metadata.get(_IGNORED_DEFAULT, False) and getattr(settings, field.name) == field.default)
        }
    if isinstance(settings, Mapping):
        return {str(identity(name)): identity(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [identity(value) for value in settings]
    if isinstance(settings, Path):
        return str(settings)
    return msgspec.to_builtins(settings)


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of what :func:`identity` returns; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_folder(store: Path, stage: str, label: str, depends_on: Mapping[str, Any]) -> Path:
    """``store/stage/label-1f2e3d4c5b6a``: the same for the same ``depends_on``, another for any other.

    ``depends_on`` holds what :func:`identity` returns, or anything else that JSON can hold.
    """
    return store / stage / f"{label}-{digest(depends_on)}"


def _by_declared_type(value: Any, kind: Any, name: str) -> Any:
    """The identity of a field's value as the type that the field declares; of a subclass, with the name of the class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = identity(value)
        return own if type(value) in (kind, *get_args(kind)) else {"type": type(value).__name__, **own}
    try:
        plain = msgspec.to_builtins(value, enc_hook=str)
        return identity(typed.convert(plain, kind, dec_hook=lambda kind, value: kind(value)))
    except msgspec.ValidationError as error:
        raise TypeError(f"{name}: {error}") from error
