"""One mutant after another into the readers: what came of each, and the table of all.

``python -m tests.robustness.mutants_trial COUNT SEED`` prints it, and every fault in full.
"""

import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import jax
import msgspec
import numpy as np

from subspace.errors import InputError
from tests.robustness.mutants import Mutant, mutant_of
from tests.robustness.mutants_targets import TARGETS, Target

SECONDS = 5
"""Of work that a reader may take."""
MEMORY = 1 << 29
"""Bytes that a reader may take beyond what was ever taken before."""
ERROR, ACCEPTED = "one-line error", "accepted, plausible"
TRACEBACK, WRONG, HANG, GREEDY, UNNAMED = "traceback", "wrongly accepted", "hang", "memory", "error names no file"
FAULTS = (TRACEBACK, WRONG, HANG, GREEDY, UNNAMED)


@dataclass(frozen=True)
class Tried:
    """A mutant and what came of it."""

    target: str
    file: str
    mutant: Mutant
    outcome: str
    said: str
    number: int


class TooLong(BaseException):
    """Raised in a reader by the clock."""


@contextmanager
def clock():
    """Raises TooLong after some seconds of work, or of waiting: the machine may have others to work for."""

    def ring(*_):
        raise TooLong

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, 12 * SECONDS)}
    before = {sign: signal.signal(sign, ring) for sign, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for sign, handler in before.items():
            signal.signal(sign, handler)


def numbers_of(found: object) -> Iterator[np.ndarray]:
    """All numbers in a result, however deep."""
    if isinstance(found, np.ndarray | jax.Array):
        array = np.asarray(found)
        if array.dtype.kind in "fV" and array.dtype.names is None:
            yield array.astype(np.float64) if array.dtype.kind == "V" else array
    elif isinstance(found, float):
        yield np.array(found)
    elif is_dataclass(found) and not isinstance(found, type):
        for part in fields(found):
            yield from numbers_of(getattr(found, part.name))
    elif isinstance(found, msgspec.Struct):
        for name in found.__struct_fields__:
            yield from numbers_of(getattr(found, name))
    elif isinstance(found, Mapping):
        for part in found.values():
            yield from numbers_of(part)
    elif isinstance(found, list | tuple):
        for part in found:
            yield from numbers_of(part)


def _try(target: Target, file: str, mutant: Mutant, folder: Path) -> tuple[str, str]:
    path = folder / file
    path.write_bytes(mutant.content)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        with clock(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = target.read(folder)
        outcome, said = ACCEPTED, ""
        if mutant.wrong:
            outcome, said = WRONG, "accepted"
        elif not target.may_be_nan and not all(np.isfinite(array).all() for array in numbers_of(found)):
            outcome, said = WRONG, "numbers that are not finite"
    except TooLong:
        outcome, said = HANG, traceback.format_exc()
    except InputError as error:
        outcome, said = ERROR, str(error)
        if not any(part in said for part in (path.name, path.parent.name, str(folder))):
            outcome = UNNAMED
    except OSError as error:
        outcome, said = (ERROR, str(error)) if error.filename is not None else (TRACEBACK, traceback.format_exc())
    except Exception:
        outcome, said = TRACEBACK, traceback.format_exc()
    if outcome in (ERROR, ACCEPTED):
        if time.process_time() - start > SECONDS:
            outcome = HANG
        elif (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > MEMORY:
            outcome = GREEDY
    if any(place.name == "executed" for place in (*folder.iterdir(), *Path.cwd().glob("executed"))):
        outcome, said = WRONG, "executed what the file holds"
        Path("executed").unlink(missing_ok=True)
    return outcome, said


def trial(count: int, seed: int, targets: tuple[Target, ...] = TARGETS) -> list[Tried]:
    """Mutants of all targets in turn, ``count`` in all; each is drawn from the seed and its own number."""
    tried, here = [], Path.cwd()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        os.chdir(scratch)
        try:
            made: dict[object, Path] = {}
            good: dict[str, dict[str, bytes]] = {}
            for place, target in enumerate(targets):
                folder = Path(scratch, str(place), "given")
                if target.make in made:
                    shutil.copytree(made[target.make], folder)
                else:
                    folder.mkdir(parents=True)
                    target.make(folder)
                    shutil.copytree(folder, folder.parent / "made")
                    made[target.make] = folder.parent / "made"
                target.read(folder)  # what is good is accepted
                good[target.name] = {file: (folder / file).read_bytes() for file in target.files}
            turns = [place for turn in range(8) for place, one in enumerate(targets) if turn % one.every == 0]
            for number in range(count):
                place = turns[number % len(turns)]
                target, folder = targets[place], Path(scratch, str(place), "given")
                draw = random.Random(f"{seed} {number}")
                file = draw.choice(list(target.files))
                mutant = mutant_of(good[target.name][file], target.files[file], draw)
                outcome, said = _try(target, file, mutant, folder)
                tried.append(Tried(target.name, file, mutant, outcome, said, number))
                (folder / file).write_bytes(good[target.name][file])
        finally:
            os.chdir(here)
    return tried


def table(tried: list[Tried]) -> str:
    """How many mutants of each target came to what."""
    outcomes = (ERROR, ACCEPTED, *FAULTS)
    rows = [["reader", "tried", *outcomes]]
    for name in [*dict.fromkeys(one.target for one in tried), "all"]:
        own = [one for one in tried if name in (one.target, "all")]
        counts = Counter(one.outcome for one in own)
        rows.append([name, str(len(own)), *(str(counts[outcome]) for outcome in outcomes)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def faults(tried: list[Tried]) -> list[Tried]:
    return [one for one in tried if one.outcome in FAULTS]


def _place(said: str) -> str:
    """The innermost line of the project in a traceback."""
    ours = [line.strip() for line in said.splitlines() if re.search(r"/(experiments|vggt_jax|weights_convert)/", line)]
    return ours[-1] if ours else ""


def main(count: int, seed: int, *names: str) -> None:
    chosen = tuple(target for target in TARGETS if not names or target.name in names)
    start, used = time.monotonic(), time.process_time()
    tried = trial(count, seed, chosen)
    seen = set()
    for one in faults(tried):
        last = one.said.strip().splitlines()[-1][:300] if one.said else ""
        where = _place(one.said)
        key = (one.outcome, one.target, where or last[:40], one.mutant.kind if one.outcome == WRONG else "")
        if key not in seen:
            seen.add(key)
            print(f"{one.outcome}: {one.target} {one.file} [{one.mutant.kind}] #{one.number}\n    {where}\n    {last}")
    print(table(tried))
    print(f"{len(seen)} faults; {time.monotonic() - start:.1f} s, {time.process_time() - used:.1f} CPU-s")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
