"""What is wrong with flags, in words: absl's own say ``1 is not integer >= 2``."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable

from absl import flags

from subspace.errors import InputError

_ILLEGAL = re.compile(r"flag --(?P<name>\w+)=(?P<value>.*?): .*", re.DOTALL)
_MISSING = re.compile(r"Missing value for flag --(?P<name>\w+)")


def check_finite() -> None:
    """Raises InputError for a flag that is NaN or infinite."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"--{name} must be a finite number, got {value}")


def in_words(error: flags.Error | ValueError) -> str:
    """What absl refuses: the flag's name, its limits and what was given, in one line."""
    text = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"there is no flag --{error.flagname}{nearest(error.flagname, flags.FLAGS, '--')}"
    if match := _MISSING.fullmatch(text):
        return f"--{match['name']} needs a value"
    if (match := _ILLEGAL.fullmatch(text)) and match["name"] in flags.FLAGS:
        parser, value = flags.FLAGS[match["name"]].parser, match["value"]
        if needed := _needed(parser):
            near = nearest(value, parser.enum_values) if isinstance(parser, flags.EnumParser) else ""
            return f"--{match['name']} must be {needed}, got {value or 'nothing'}{near}"
    return " ".join(text.split())


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """``; did you mean TEXTURE?`` if one of ``names`` is close to ``name``, or else nothing."""
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def nearest_path(path: str | os.PathLike[str]) -> str:
    """What :func:`nearest` says of the names that lie where a missing file or folder should."""
    folder, name = os.path.split(os.path.abspath(path))
    return nearest(name, os.listdir(folder)) if os.path.isdir(folder) else ""


def refuse(names: Iterable[str], form: str) -> None:
    """Raises InputError that names those of the flags that the user gave, as they have no effect in this ``form``."""
    if given := [f"--{name}" for name in names if flags.FLAGS[name].present]:
        have = "has" if len(given) == 1 else "have"
        raise InputError(f"{', '.join(given)} {have} no effect {form}")


def _needed(parser: object) -> str | None:
    match parser:
        case flags.EnumParser():
            return " or ".join(
                [", ".join(parser.enum_values[:-1])] * (len(parser.enum_values) > 1) + parser.enum_values[-1:]
            )
        case flags.BooleanParser():
            return "true or false"
        case flags.IntegerParser():
            return "a whole number" + _limits(parser.lower_bound, parser.upper_bound)
        case flags.FloatParser():
            return "a number" + _limits(parser.lower_bound, parser.upper_bound)
    return None


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    return f" of at least {low:g}" if low is not None else f" of at most {high:g}" if high is not None else ""
