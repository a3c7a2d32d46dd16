"""What LoRAs are, each by itself and beside each other."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from experiments.loras.collection import find_places
from experiments.mining.origin import NOT_RECORDED
from experiments.storage.files import listed
from subspace import frobenius_norm
from subspace.errors import InputError
from weights_convert.lora_file import LoraFile
from weights_convert.lora_layouts import open_lora


def describe(places: Sequence[str], *, low_rank_part: bool = False) -> Iterator[str]:
    """A few lines on each LoRA, one on each that is refused, and on those that are the same.

    Raises InputError after all lines if LoRAs among them cannot be used, and at once as
    :func:`experiments.loras.collection.open_all` where the only one is refused.
    """
    found = find_places(places)
    same: defaultdict[str, list[str]] = defaultdict(list)
    unusable = []
    for name, path in found.items():
        try:
            lora = open_lora(path, low_rank_part=low_rank_part)
        except (InputError, OSError) as error:
            if len(found) == 1:
                raise
            unusable.append(name)
            yield f"{name}: unusable: {_why(error)}"
        else:
            if not (yield from _lines(name, lora, same)):
                unusable.append(name)
    for names in same.values():
        if len(names) > 1:
            yield f"the same updates: {', '.join(names)}"
    if unusable:
        count = f"{len(unusable)} of {len(found)} LoRAs" if len(found) > 1 else "the LoRA"
        raise InputError(f"{count} cannot be used: {listed(unusable)}", argument="adapters")


def _why(error: InputError | OSError) -> str:
    return str(error) if isinstance(error, InputError) else f"{error.filename}: {error.strerror}"


def _lines(name: str, lora: LoraFile, same: defaultdict[str, list[str]]) -> Generator[str, None, bool]:
    """What to say of a LoRA, and in the end whether all of it can be used; ``same`` gets its name if so."""
    ranks = Counter(module.rank for module in lora.modules.values())
    scales = Counter(round(module.scale, 6) for module in lora.modules.values())
    yield f"{name}: {lora.layout}, {len(lora.modules)} matrices, {lora.dtype}, base {lora.base or NOT_RECORDED}"
    yield f"  rank {_counted(ranks)}; scale {_counted(scales)}"
    digest, norms, problems = hashlib.sha256(), {}, []
    for path in lora.modules:
        try:
            update = lora.read(path)
        except (InputError, OSError) as error:
            problems.append(_why(error))
            continue
        norms[path] = float(frobenius_norm(update))
        for factor in (update.A, update.B):
            digest.update(path.encode() + np.ascontiguousarray(factor).tobytes())
    if norms:
        total, largest = np.sqrt(sum(x**2 for x in norms.values())), max(norms, key=norms.__getitem__)
        yield f"  ‖dW‖ {total:.4g}, most in {largest} ({norms[largest]:.4g})"
    if problems:
        yield f"  unusable: {problems[0]}" + (f" and {len(problems) - 1} more" if len(problems) > 1 else "")
    zero = [path for path, norm in norms.items() if norm == 0]
    if zero:
        yield (
            "  untrained: all updates are zero" if len(zero) == len(lora.modules) else f"  zero in {len(zero)} matrices"
        )
    if lora.left_out:
        yield f"  beside the LoRA, left out: {', '.join(lora.left_out[:4])}{' …' if len(lora.left_out) > 4 else ''}"
    for remark in lora.remarks:
        yield f"  {remark}"
    if not problems:
        same[digest.hexdigest()].append(name)
    return not problems


def _counted(values: Counter) -> str:
    if len(values) == 1:
        return f"{next(iter(values)):g}"
    return ", ".join(f"{value:g} ({count})" for value, count in values.most_common(4)) + (
        " …" if len(values) > 4 else ""
    )
