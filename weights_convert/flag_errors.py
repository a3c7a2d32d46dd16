"""What is wrong with flags, in words: absl's own say ``1 is not integer >= 2``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from absl import flags

from subspace.errors import InputError
from vggt_jax.missing import nearest
from weights_convert.path_flags import ListParser, NameParser, PathParser

_ILLEGAL = re.compile(r"flag --(?P<name>\w+)=(?P<value>.*?): .*", re.DOTALL)
_MISSING = re.compile(r"Missing value for flag --(?P<name>\w+)")
_NO_TYPOS = frozenset({"float16", "float64"})
"""Values that are near another one by their letters only."""
_ALSO_CALLED = {
    "adapter": ("lora", "peft", "lora_path", "adapter_path"),
    "adapters": ("loras", "pefts"),
    "at_once": ("jobs", "parallel"),
    "confidence": ("threshold",),
    "data": ("train", "input", "inputs", "scenes", "train_data"),
    "dtype": ("precision", "type", "fp16", "bf16"),
    "images": ("photos", "input", "inputs", "pictures", "scene", "scene_dir", "folder"),
    "input": ("source", "weights", "model", "checkpoint", "ckpt"),
    "matrices": ("target_modules", "modules", "layers"),
    "output": ("dest", "destination", "result", "results", "save", "save_dir", "o"),
    "overwrite": ("force", "replace", "f"),
    "peak_rate": ("lr", "learning_rate", "rate"),
    "rank": ("r", "lora_r", "lora_rank"),
    "resolution": ("size", "width", "height", "img_size", "image_size", "res"),
    "source": ("input", "inputs", "captures", "folder"),
    "steps": ("epochs", "iterations", "iters", "max_iters"),
    "weights": ("model", "checkpoint", "ckpt", "pretrained", "base", "base_model"),
    "workers": ("jobs", "threads", "processes"),
}
"""Flag → what other programs call it."""


def check_numbers() -> None:
    """Raises InputError for a flag that is NaN, infinite, or a whole number of more than 64 bits, which arrays do not hold."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"--{name} must be less than 2 to the power of 63, got {value}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"--{name} must be a finite number, got {value}")


def in_words(error: flags.Error | ValueError) -> str:
    """What absl refuses: the flag's name, its limits and what was given, in one line."""
    text = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"there is no flag --{error.flagname}{_meant(error.flagname)}"
    if match := _MISSING.fullmatch(text):
        return f"--{match['name']} needs a value"
    match = _ILLEGAL.fullmatch(text)
    if isinstance(error.__context__, InputError):  # of a parser that knows what is wrong
        return f"{error.__context__} (see --{match['name']})" if match else str(error.__context__)
    if match and match["name"] in flags.FLAGS:
        parser, value = flags.FLAGS[match["name"]].parser, match["value"]
        if needed := _needed(parser):
            near = ""
            if isinstance(parser, flags.EnumParser) and value not in _NO_TYPOS:
                near = nearest(value, parser.enum_values)
            return f"--{match['name']} must be {needed}, got {value or 'nothing'}{near}"
    return " ".join(text.split())


def refuse(names: Iterable[str], form: str) -> None:
    """Raises InputError that names those of the flags that the user gave, as they have no effect in this ``form``."""
    if given := [f"--{name}" for name in names if flags.FLAGS[name].present]:
        have = "has" if len(given) == 1 else "have"
        raise InputError(f"{', '.join(given)} {have} no effect {form}")


def _meant(name: str) -> str:
    """Which of this command's flags was meant by one that there is not: one of that sense or nearly of that name, or all."""
    modules = flags.FLAGS.flags_by_module_dict().items()
    own = sorted({flag.name for module, found in modules if not module.startswith("absl") for flag in found})
    plain = name.replace("-", "_").lower()
    if same := [each for each in own if plain in _ALSO_CALLED.get(each, ())]:
        return f"; did you mean --{same[0]}?"
    if near := nearest(plain, [*own, *flags.FLAGS], "--"):
        return near
    if words := [each for each in own if each.startswith(plain) or (len(each) > 2 and plain.startswith(each))]:
        return f"; did you mean --{words[0]}?"
    return f"; there are {', '.join(f'--{each}' for each in own)}" if own else ""


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
        case PathParser() | NameParser():
            return parser.syntactic_help
        case ListParser():
            return f"{parser.syntactic_help}, and none of them empty"
    return None


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    return f" of at least {low:g}" if low is not None else f" of at most {high:g}" if high is not None else ""
