"""Rounds of misfortune: commands that are killed, signalled, run out of disk, or started twice.

``python -m tests.robustness.rounds kill --count=100``, ``disk``, ``signals``, ``pairs`` and ``long`` print a table;
``--only=NAME,…`` takes some commands, ``--seed`` draws other moments. Status 1 if anything was not as docs/promises.md says.
"""

import argparse
import contextlib
import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tests.robustness import workloads
from tests.robustness.children import Child, Ended, alive, load
from tests.robustness.faults import Faults
from tests.robustness.workloads import WORKLOADS, content, leftovers, make_inputs

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Bench:
    """A folder with the inputs of all commands, and one for each that is run."""

    def __init__(self, folder: Path):
        self.folder, self.work = folder, folder / "work"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")  # which JAX reads when it is loaded
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
        load()
        if not self.work.exists():
            self.work.mkdir(parents=True)
            made = Child(partial(make_inputs, self.work), folder / "inputs").wait()
            if made.status:
                raise RuntimeError(made.stderr[-3000:])
        self._number = 0
        self._undisturbed: dict[str, tuple[dict[str, str], float, int]] = {}

    def place(self) -> Path:
        """A folder that is not there yet."""
        self._number += 1
        return self.folder / "runs" / f"{self._number:04d}"

    def start(self, name: str, here: Path, before: Callable[[], object] = lambda: None) -> Child:
        here.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            os.chdir(here)
            before()
            workloads.run(name, self.work, here)

        return Child(work, here)

    def undisturbed(self, name: str) -> tuple[dict[str, str], float, int]:
        """Content, seconds and changes of the disk of a command that nothing happens to."""
        if name not in self._undisturbed:
            self._run(name)  # compiles
            here = self.place()
            counted = here.parent / f"{here.name}.count"

            def work() -> None:
                os.chdir(here)
                faults = Faults(here, None)
                faults.install()
                try:
                    workloads.run(name, self.work, here)
                finally:
                    counted.write_text(str(faults.count))

            here.mkdir(parents=True)
            ended = Child(work, here).wait()
            if ended.status:
                raise RuntimeError(f"{name}: {ended.stderr[-3000:]}")
            self._undisturbed[name] = content(here), ended.seconds, int(counted.read_text())
            shutil.rmtree(here)
        return self._undisturbed[name]

    def _run(self, name: str) -> None:
        here = self.place()
        ended = self.start(name, here).wait()
        if ended.status:
            raise RuntimeError(f"{name}: {ended.stderr[-3000:]}")
        shutil.rmtree(here)

    def again(self, name: str, here: Path) -> list[str]:
        """What is wrong after the same command in the same folder."""
        ended = self.start(name, here).wait()
        if ended.status and not (name == "merge" and "exists already" in ended.stderr):
            return [f"run again: status {ended.status}: {ended.stderr[-1500:]}"]
        expected = self.undisturbed(name)[0]
        found = content(here)
        wrong = [f"other content: {path}" for path in expected if found.get(path, expected[path]) != expected[path]]
        wrong += [f"missing: {path}" for path in expected.keys() - found.keys()]
        wrong += [f"too much: {path}" for path in found.keys() - expected.keys()]
        return wrong + [f"left over: {path}" for path in leftovers(here)]


Row = tuple[str, Counter]


def kill(bench: Bench, names: Sequence[str], count: int, seed: int) -> list[Row]:
    """Half of the kills come at a change of the disk, half at a moment; then the command is run again."""
    draws, rows = random.Random(seed), {name: Counter() for name in names}
    for number in range(count):
        name = names[number % len(names)]
        _, seconds, changes = bench.undisturbed(name)
        here = bench.place()
        if (number // len(names)) % 2 == 0:
            at = draws.randint(1, changes)
            how = f"at change {at} of {changes}"
            child = bench.start(name, here, lambda here=here, at=at: Faults(here, at).install())
        else:
            delay = draws.uniform(0.05, 1) * seconds
            how = f"after {delay:.2f} of {seconds:.2f} s"
            child = bench.start(name, here)
            time.sleep(delay)
        children = child.descendants()
        child.send(signal.SIGKILL) if "after" in how else None
        ended = child.wait()
        tally = rows[name]
        tally["tried"] += 1
        tally["killed"] += ended.status == -signal.SIGKILL
        tally["orphans"] += len(_outliving(children))
        wrong = bench.again(name, here)
        tally["identical"] += not wrong
        tally["leftovers"] += sum(line.startswith("left over") for line in wrong)
        _tell(name, how, wrong)
        shutil.rmtree(here, ignore_errors=True)
    return list(rows.items())


def _outliving(children: Sequence[int], seconds: float = 10) -> list[int]:
    """Those that have not noticed the end of their parent."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in children if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def disk(bench: Bench, names: Sequence[str], count: int, seed: int) -> list[Row]:
    """The disk takes no more from one of the first 200 changes on, ``count`` places of each command; then it does again."""
    rows = []
    for name in names:
        tally: Counter = Counter()
        changes = min(200, bench.undisturbed(name)[2])
        places = sorted({1 + round(i * (changes - 1) / max(1, count - 1)) for i in range(count)})
        for number, at in enumerate(places):
            here = bench.place()
            code = CODES[(number + seed) % len(CODES)]
            ended = bench.start(name, here, lambda here=here, at=at, code=code: Faults(here, at, code).install()).wait()
            wrong = one_line(ended, here, code)
            tally["tried"] += 1
            tally["one line"] += not wrong
            tally["tracebacks"] += "Traceback" in ended.stderr
            again = bench.again(name, here)
            tally["identical after"] += not again
            _tell(name, f"{errno.errorcode[code]} at change {at} of {changes}", wrong + again)
            shutil.rmtree(here, ignore_errors=True)
        rows.append((name, tally))
    return rows


def one_line(ended: Ended, here: Path, code: int) -> list[str]:
    """What is wrong with how a command ended for want of a disk."""
    if ended.status == 0:
        return []  # what could not be written was not needed
    words = os.strerror(code)
    last = ended.lines[-1] if ended.lines else ""
    wrong = [] if ended.status == 2 else [f"status {ended.status}"]
    wrong += ["traceback: " + ended.stderr[-1500:]] if "Traceback" in ended.stderr else []
    if words.lower() not in last.lower() or str(here) not in last or "; " not in last:
        wrong.append(f"last line: {last[:300]}")
    return wrong


def signals(bench: Bench, names: Sequence[str], count: int, seed: int) -> list[Row]:
    """``count`` moments of each command, from its start on, by signals in turn."""
    draws, rows = random.Random(seed), []
    for name in names:
        tally: Counter = Counter()
        seconds = bench.undisturbed(name)[1]
        for number in range(count):
            asked, status = list(SIGNALS.items())[(number + seed) % len(SIGNALS)]
            here, delay = bench.place(), draws.uniform(0.1, 0.9) * seconds
            child = bench.start(name, here)
            time.sleep(delay)
            children, sent = child.descendants(), time.monotonic()
            child.send(asked)
            ended = child.wait()
            took = time.monotonic() - sent
            tally["tried"] += 1
            if ended.status == 0:
                tally["ended before"] += 1
                continue
            line = ended.lines[-1] if ended.lines else ""
            wrong = [] if ended.status == status else [f"status {ended.status}: {ended.stderr[-1000:]}"]
            wrong += [] if "interrupted" in line else [f"last line: {line[:200]}"]
            wrong += ["traceback"] if "Traceback" in ended.stderr or "Exception ignored" in ended.stderr else []
            wrong += [f"orphan {pid}" for pid in _outliving(children)]
            tally["as promised"] += not wrong
            tally["leftovers"] += len(leftovers(here))
            tally["slowest, ms"] = max(tally["slowest, ms"], round(1000 * took))
            again = bench.again(name, here)
            tally["identical after"] += not again
            _tell(name, f"{asked.name} after {delay:.2f} of {seconds:.2f} s", wrong + again)
            shutil.rmtree(here, ignore_errors=True)
        rows.append((name, tally))
    return rows


def pairs(bench: Bench, names: Sequence[str], count: int, seed: int) -> list[Row]:
    """Two of the same command in the same folder, the second a little later."""
    draws, rows = random.Random(seed), []
    for name in names:
        tally: Counter = Counter()
        seconds = bench.undisturbed(name)[1]
        for _ in range(count):
            here, delay = bench.place(), draws.uniform(0, 0.3) * seconds
            first = bench.start(name, here)
            time.sleep(delay)
            others = here.parent / f"{here.name}b"
            second = Child(partial(_in, bench, name, here), others)
            ended = [first.wait(), second.wait()]
            wrong = [f"status {each.status}: {each.stderr[-800:]}" for each in ended if each.status]
            if name == "merge":  # refuses a folder that is there
                wrong = [] if sorted(each.status for each in ended) in ([0, 2], [0, 0]) else wrong
            tally["tried"] += 1
            tally["both well"] += not wrong
            tally["said for whom"] += any("waiting until" in each.stderr for each in ended)
            again = bench.again(name, here) if name != "merge" else []
            tally["identical"] += not again
            _tell(name, f"second after {delay:.2f} s", wrong + again)
            shutil.rmtree(here, ignore_errors=True)
        rows.append((name, tally))
    return rows


LONG = {
    "generate": ("--datasets=1", "--scenes={count}"),
    "finetune": ("--steps={count}",),
}
"""Command → flags after its usual ones: scenes of stand-in rendering, steps of the tiny model."""


def long(bench: Bench, names: Sequence[str], count: int, seed: int) -> list[Row]:
    """``count`` scenes, and as many steps: memory in the course of the second half, open files, zombies."""
    rows = []
    for name in [name for name in names if name in LONG]:
        here = bench.place()
        here.mkdir(parents=True)
        more = [flag.format(count=count) for flag in LONG[name]]

        def work(name: str = name, here: Path = here, more: list[str] = more) -> None:
            os.chdir(here)
            workloads.run(name, bench.work, here, more)

        child, samples, zombies = Child(work, here), [], 0
        while alive(child.pid):
            with contextlib.suppress(OSError, IndexError):
                process = Path(f"/proc/{child.pid}")
                pages = int((process / "statm").read_text().split()[1])
                samples.append(
                    (_done(here), pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(process / "fd")))
                )
            zombies = max(zombies, child.zombies())
            time.sleep(0.25)
        ended = child.wait()
        later = [sample for sample in samples if count / 2 <= sample[0] < count]  # before the contact sheet, say
        slope = np.polyfit([done for done, _, _ in later], [memory for _, memory, _ in later], 1)[0]
        rows.append(
            (name, Counter({
                "status": ended.status, "done": _done(here), "MiB in the end": round(later[-1][1]),
                "slope, KiB each": round(1024 * slope, 1), "open files at half": later[0][2],
                "open files in the end": later[-1][2], "zombies": zombies,
            }))
        )  # fmt: skip
        shutil.rmtree(here, ignore_errors=True)
    return rows


def _done(here: Path) -> int:
    """Scenes, or steps that are in a log."""
    logs = list(here.rglob("metrics.jsonl"))
    return sum(1 for _ in logs[0].open()) if logs else len(list(here.glob("made/dataset_00/scene_*")))


def _in(bench: Bench, name: str, here: Path) -> None:
    os.chdir(here)
    workloads.run(name, bench.work, here)


def _tell(name: str, how: str, wrong: Sequence[str]) -> None:
    if wrong:
        print(f"{name}, {how}:", *(f"\n    {line}" for line in wrong[:4]), flush=True)


ROUNDS = {"kill": kill, "disk": disk, "signals": signals, "pairs": pairs, "long": long}
_PROMISED = {"kill": "identical", "disk": "identical after", "signals": "as promised", "pairs": "both well"}


def table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for _, tally in rows for column in tally))
    lines = ["| command | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(str(tally[column]) for column in columns) + " |" for name, tally in rows]
    total = {column: (max if "slowest" in column else sum)(tally[column] for _, tally in rows) for column in columns}
    return "\n".join([*lines, "| **all** | " + " | ".join(f"**{total[column]}**" for column in columns) + " |"])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("round", choices=ROUNDS)
    parser.add_argument("--count", type=int, default=None, help="kill: of all commands; else of each")
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args(arguments)
    names = [name for name in given.only.split(",") if name != "merge" or given.round != "signals"]
    folder = given.folder or Path(tempfile.mkdtemp(prefix="rounds-"))
    count = given.count or {"kill": 100, "disk": 10, "signals": 3, "pairs": 1, "long": 300}[given.round]
    rows = ROUNDS[given.round](Bench(folder), names, count, given.seed)
    print(table(rows))
    if given.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    if given.round == "long":
        return int(any(tally["status"] or tally["zombies"] for _, tally in rows))
    return int(any(tally[_PROMISED[given.round]] + tally["ended before"] < tally["tried"] for _, tally in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
