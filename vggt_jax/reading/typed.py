"""JSON as a type, from any thread: msgspec crashes where two threads need a type for the first time at once.

It shows a type to other threads while it still finds out what its fields are. Here one thread does that while others wait;
afterwards any number converts at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_READY: set[Any] = set()
_LOCK = threading.RLock()


def convert(content: Any, kind: type[T], dec_hook: Callable[[type, Any], Any] | None = None) -> T:
    """:func:`msgspec.convert`; raises msgspec.ValidationError."""
    return _first_alone(kind, lambda: msgspec.convert(content, kind, dec_hook=dec_hook))


def decode(data: bytes | str, kind: type[T]) -> T:
    """:func:`msgspec.json.decode`; raises msgspec.DecodeError."""
    return _first_alone(kind, lambda: msgspec.json.decode(data, type=kind))


def _first_alone(kind: Any, make: Callable[[], T]) -> T:
    if kind in _READY:
        return make()
    with _LOCK:
        try:
            return make()
        finally:
            _READY.add(kind)
