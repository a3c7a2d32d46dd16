"""JSON as the standard has it, of limited size and depth: no key twice, no NaN, no number that no float holds."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from vggt_jax.reading.regular import read_bytes

MOST_BYTES = 1 << 28
"""Of a file. The manifest of a thousand scenes of two hundred views has 40 million."""
DEEPEST = 100
"""Lists and objects that lie in each other."""
_MOST_DIGITS = 300
"""Of a whole number; more can be more than a float holds."""
_LARGEST = 10**_MOST_DIGITS


def parse_json(text: str | bytes) -> Any:
    """What a text holds.

    Raises ValueError that says what is wrong: it is no JSON, a key is there twice, a number is not finite, it is too deep.
    """
    data = text.encode() if isinstance(text, str) else text
    with suppress(msgspec.DecodeError, UnicodeError, RecursionError):  # what is wrong is said below
        content = msgspec.json.decode(data)
        if check_values(content) == data.count(b":"):  # each key has one, so that none is there twice
            return content
    try:
        content = json.loads(data, object_pairs_hook=_once, parse_constant=no_number, parse_int=whole)
        check_values(content)
        json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    return content


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        ValueError: as :func:`parse_json`; InputError for what is no file or too large.
        OSError: it cannot be read.
    """
    return parse_json(read_bytes(path, MOST_BYTES))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"it has the key {twice!r} twice")
    return found


def no_number(name: str) -> NoReturn:
    """What ``json`` calls for NaN and infinity; raises ValueError."""
    raise ValueError(f"it holds {name}, which is no number of JSON")


def whole(digits: str) -> int:
    """What ``json`` calls for a whole number; raises ValueError for one with too many digits."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(digits):,} digits")
    return int(digits)


def check_values(content: Any) -> int:
    """How many keys all objects have; raises ValueError for a number that is too large, and for what is nested too deep."""
    level, keys = [content], 0
    for _ in range(DEEPEST + 1):
        if math.inf in level or -math.inf in level:
            raise ValueError("it holds a number that is too large for a float")
        if any(not -_LARGEST < number < _LARGEST for number in [value for value in level if type(value) is int]):
            raise ValueError(f"it holds a number of more than {_MOST_DIGITS} digits")
        inner = [value for value in level if type(value) is dict or type(value) is list]
        if not inner:
            return keys
        keys += sum(len(part) for part in inner if type(part) is dict)
        level = [value for part in inner for value in (part.values() if type(part) is dict else part)]
    raise ValueError(f"it is nested more than {DEEPEST} deep")
