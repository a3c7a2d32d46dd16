"""What settings are given, as the types that their fields declare: a path is a string to many, and several are often one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from subspace.errors import InputError
from vggt_jax.missing import nearest

StrPath = str | PathLike[str]
"""What stands for a path."""


def convert_fields(settings: Any) -> None:
    """Give each field of a dataclass, from its ``__post_init__``, the type that it declares; frozen ones too.

    - ``Path``: a string, or anything that is a path to the system, becomes one; so do the values of a mapping to paths.
    - ``str``: a path becomes its string.
    - ``Literal``: what is none of the choices is refused.
    - ``tuple[T, ...]`` of these: any iterable becomes a tuple, and one string or path alone a tuple of one.

    Each may be None where the field says so. Fields of other types stay as they are, and so does what has its type.

    Raises InputError that names the field for what is no path, an empty one, an address, and a value that is no choice.
    """
    for name, kind in _kinds(type(settings)).items():
        value = getattr(settings, name)
        converted = _converted(value, kind, name)
        if converted is not value:
            object.__setattr__(settings, name, converted)


def path_of(value: StrPath, argument: str) -> Path:
    """``value`` as a path; raises InputError that names ``argument`` for what is none, is empty, or is an address."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str | PathLike):
        raise InputError(f"{argument} must be a path, got {value!r}", argument=argument)
    text = fspath(value)
    if not text:
        raise InputError(f"{argument}: the path is empty", argument=argument)
    if "://" in text:  # as a path it would be a folder of the scheme's name
        raise InputError(f"{argument}: {text} is an address, where a path of this machine is needed", argument=argument)
    return Path(text)


def paths_of(values: StrPath | Iterable[StrPath], argument: str) -> tuple[Path, ...]:
    """Some paths, or a single one; raises as :func:`path_of`."""
    return tuple(path_of(value, argument) for value in listed(values, argument))


def listed(values: StrPath | Iterable[StrPath], argument: str) -> list[StrPath]:
    """Some strings or paths, of which one may stand alone; raises InputError that names ``argument`` for what is neither."""
    if isinstance(values, str | PathLike):
        return [values]
    if not isinstance(values, Iterable):
        raise InputError(f"{argument} must be one or several, got {values!r}", argument=argument)
    return list(values)


def check_choice(value: object, choices: Collection[str], argument: str) -> None:
    """Raises InputError that names ``argument`` and the choices, unless ``value`` is one of them."""
    if not isinstance(value, str) or value not in choices:
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise InputError(f"{argument}={value!r} is none of {', '.join(choices)}{near}", argument=argument)


@cache
def _kinds(settings: type) -> Mapping[str, Any]:
    """Field → declared type."""
    kinds = get_type_hints(settings)
    return {field.name: kinds[field.name] for field in dataclasses.fields(settings)}


def _converted(value: Any, kind: Any, name: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        others = [part for part in parts if part is not NoneType]
        return value if value is None or len(others) > 1 else _converted(value, others[0], name)
    if kind is Path:
        return path_of(value, name)
    if kind is str:
        return fspath(value) if isinstance(value, PathLike) else value
    if origin is Literal:
        check_choice(value, parts, name)
    elif origin is Mapping and parts[1] is Path:
        return {key: path_of(path, name) for key, path in value.items()}
    elif origin is tuple and parts[1:] == (...,) and (parts[0] in (Path, str) or get_origin(parts[0]) is Literal):
        return tuple(_converted(each, parts[0], name) for each in listed(value, name))
    return value
