"""Where LoRAs lie: folders, folders of folders, patterns, lists, and repositories of the Hugging Face Hub."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from subspace.errors import InputError
from vggt_jax.reading.regular import check_regular, read_bytes
from weights_convert.lora_layouts import PEFT_WEIGHTS, is_lora_file, is_peft
from weights_convert.peft_config import CONFIG
from weights_convert.sources import HUB, fetch

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LIST = ".txt"
_MOST_BYTES = 1 << 24
"""Of a list."""
_DEEPEST = 4


def find_loras(places: Sequence[str], argument: str = "adapters") -> dict[str, Path]:
    """Name → folder or file of every LoRA, in the order in which they were named; those of a folder by name.

    Args:
        places: each a folder of PEFT's, a single file, a folder with such in it (also folders within folders), a pattern
            (``runs/*/adapter``), a list (a ``.txt`` file with one place on each line), or ``hf:owner/name[@revision]``. Of
            the output of a trainer the final adapter counts, or else the newest ``checkpoint-N``.
        argument: what errors name.

    Raises:
        InputError: a place without a LoRA, one LoRA twice, or a list with a place that is missing.
        OSError: a place that is missing or cannot be read or fetched.
    """
    found: list[tuple[str, Path]] = []
    for place in places:
        found += _found(place, argument)
    resolved: dict[Path, Path] = {}
    for _, path in found:
        if (same := resolved.setdefault(path.resolve(), path)) is not path:
            again = "" if same == path else f", the second time as {path}"
            raise InputError(f"{same} is named twice{again}", argument=argument)
    counts = Counter(name for name, _ in found)
    return {name if counts[name] == 1 else str(path): path for name, path in found}


def _found(place: str, argument: str) -> list[tuple[str, Path]]:
    if place.startswith(HUB):
        name = place.removeprefix(HUB)
        folder = fetch(name, ((".safetensors", ".safetensors.index.json"), (".bin", ".bin.index.json")), CONFIG)
        return [(label if label != folder.name else name, path) for label, path in _in_folder(folder, argument)]
    if not place:
        raise InputError("the name of a LoRA's place is empty", argument=argument)
    path = Path(place)
    if path.is_dir():
        return _in_folder(path, argument)
    if path.is_file() and path.suffix == _LIST:
        try:
            lines = [line.strip() for line in read_bytes(path, _MOST_BYTES).decode("utf-8").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: no list of places, it is no text in UTF-8 ({error})", argument=argument
            ) from None
        places = {number: line for number, line in enumerate(lines, 1) if line and not line.startswith("#")}
        if not places:
            raise InputError(f"{path}: names no LoRA", argument=argument)
        return [one for number, line in places.items() for one in _on_line(path, number, line, argument)]
    if path.is_file():
        return [(path.stem, path)]
    if glob.has_magic(place):
        matches = [match for match in sorted(glob.glob(place, recursive=True)) if _may_hold(Path(match))]
        if not matches:
            raise InputError(f"nothing that is called {place} holds a LoRA", argument=argument)
        return [one for match in matches for one in _found(match, argument)]
    if os.path.lexists(path):
        check_regular(path)  # which says what it is
    raise FileNotFoundError(errno.ENOENT, "no such file or folder", place)


def _on_line(listing: Path, number: int, line: str, argument: str) -> list[tuple[str, Path]]:
    try:
        return _found(_beside(listing, line), argument)
    except InputError as error:
        raise InputError(f"{listing}, line {number}: {error}", argument=argument) from None
    except FileNotFoundError as error:
        raise InputError(f"{listing}, line {number}: {error.filename}: {error.strerror}", argument=argument) from None


def _beside(listing: Path, line: str) -> str:
    """Places in a list are relative to the list."""
    return line if line.startswith(HUB) else str(listing.parent / line)


def _may_hold(path: Path) -> bool:
    return path.is_dir() or is_lora_file(path)


def _in_folder(folder: Path, argument: str) -> list[tuple[str, Path]]:
    found = list(_walk(folder, _DEEPEST))
    if not found:
        beside = [path.name for path in folder.iterdir() if path.name in PEFT_WEIGHTS]
        without = f"it has {beside[0]} but no {CONFIG}" if beside else f"no {CONFIG} and no LoRA in a .safetensors file"
        raise InputError(f"{folder} is no PEFT folder and holds none ({without})", argument=argument)
    if len(found) == 1:
        return [(folder.name, found[0])]
    return [(_label(folder, path), path) for path in found]


def _label(folder: Path, path: Path) -> str:
    name = path.relative_to(folder)
    parts = [part for part in name.with_suffix("" if path.is_file() else path.suffix).parts if part != "default"]
    return "/".join(parts) or folder.name


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if is_peft(folder) or (depth < _DEEPEST and any((folder / name).is_file() for name in PEFT_WEIGHTS)):
        yield folder  # weights without their settings are refused by whoever reads them, not passed over
    entries = sorted(folder.iterdir(), key=lambda path: path.name)
    files = [path for path in entries if path.is_file() and path.name not in PEFT_WEIGHTS]
    if not is_peft(folder):
        yield from (path for path in files if is_lora_file(path))
    folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
    checkpoints = [path for path in folders if _CHECKPOINT.fullmatch(path.name)]
    others = [path for path in folders if path not in checkpoints]
    below = [found for path in others if depth for found in _walk(path, depth - 1)]
    yield from below
    if checkpoints and not is_peft(folder) and not below:
        newest = max(checkpoints, key=lambda path: int(path.name.partition("-")[2]))
        yield from _walk(newest, 0)
