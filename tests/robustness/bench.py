"""Where commands are tried: their inputs, what each leaves when nothing happens to it, and a record of every trial."""

import hashlib
import json
import os
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tests.robustness import workloads
from tests.robustness.children import Child, Ended, Worker, load
from tests.robustness.faults import Faults, Seen, arm, disarm
from tests.robustness.workloads import MAY_LOSE, REFUSES_AGAIN, content, leftovers, make_inputs

TRIALS = "trials.jsonl"
LIMIT_S = 150
"""A command that works longer at these sizes hangs."""


@dataclass(frozen=True)
class Undisturbed:
    """A command that nothing happens to."""

    content: dict[str, str]
    seconds: float
    changes: int
    """Of the disk."""
    sizes: list[int]
    """Of its files."""


@dataclass
class Trial:
    """What one misfortune did."""

    round: str
    name: str
    how: str
    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Bench:
    """A folder with the inputs of all commands, one for each that is run, and ``trials.jsonl``, from which rounds go on."""

    def __init__(self, folder: Path):
        self.folder, self.work, self._log = folder, folder / "work", folder / TRIALS
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")  # which JAX reads when it is loaded
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
        load()
        if not self.work.exists():
            self.work.mkdir(parents=True)
            made = Child(partial(make_inputs, self.work), folder / "inputs").wait()
            if made.status:
                raise RuntimeError(made.stderr[-3000:])
        shutil.rmtree(folder / "runs", ignore_errors=True)
        self._number = 0
        self._workers: dict[str, Worker] = {}
        self._undisturbed: dict[str, Undisturbed] = {}
        self._again: dict[tuple[str, str], list[str]] = {}
        self.trials = trials_in(folder)

    def place(self) -> Path:
        """A folder that is not there yet."""
        self._number += 1
        return self.folder / "runs" / f"{self._number:05d}"

    def control(self, here: Path) -> Path:
        """The file of the shim for a run in ``here``."""
        here.parent.mkdir(parents=True, exist_ok=True)
        return here.parent / f"{here.name}.control"

    def start(self, name: str, here: Path, before: Callable[[], object] = lambda: None, beside: str = "") -> Child:
        here.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            os.chdir(here)
            before()
            workloads.run(name, self.work, here)

        return Child(work, here.parent / f"{here.name}{beside}")

    def do(self, name: str, here: Path, faults: Faults | None = None) -> Ended | None:
        """How the command ends in a process that has done it before, which takes a fraction of the time; None if it hangs."""
        here.mkdir(parents=True, exist_ok=True)
        if name not in self._workers:
            while self._workers:
                self._workers.popitem()[1].end()
            self._workers[name] = Worker(partial(_work, name, self.work))
        try:
            return self._workers[name].do(here, (str(here), str(faults.control) if faults else ""), LIMIT_S)
        except TimeoutError:
            del self._workers[name]
            return None

    def close(self) -> None:
        """End the processes that wait for more."""
        while self._workers:
            self._workers.popitem()[1].end()

    def undisturbed(self, name: str) -> Undisturbed:
        kept = self.folder / f"{name}.json"
        if name not in self._undisturbed and kept.exists():
            self._undisturbed[name] = Undisturbed(**json.loads(kept.read_text()))
        if name not in self._undisturbed:
            self._run(name)  # compiles
            here = self.place()
            faults = Faults(here, control=self.control(here))
            ended = self._run(name, here, faults.install)
            sizes = [path.stat().st_size for path in here.rglob("*") if path.is_file()]
            self._undisturbed[name] = Undisturbed(content(here), ended.seconds, faults.seen().changes, sizes)
            kept.write_text(json.dumps(asdict(self._undisturbed[name])))
            self.clear(here)
        return self._undisturbed[name]

    def _run(self, name: str, here: Path | None = None, before: Callable[[], object] = lambda: None) -> Ended:
        place = here or self.place()
        ended = self.start(name, place, before).wait()
        if ended.status:
            raise RuntimeError(f"{name}: {ended.stderr[-3000:]}")
        if here is None:
            self.clear(place)
        return ended

    def clear(self, here: Path) -> None:
        for path in here.parent.glob(f"{here.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def ended(self, child: Child) -> Ended | None:
        """How it ends; None if it hangs."""
        try:
            return child.wait(LIMIT_S)
        except TimeoutError:
            return None

    def again(self, name: str, here: Path, lost: Iterable[str] = ()) -> list[str]:
        """What is wrong after the same command in the same folder, of which files ``lost`` may be missing.

        A folder that holds the same as one that was tried before is not tried again.
        """
        state = name, _state(here)
        if state not in self._again:
            self._again[state] = self._wrong_again(name, here, set(lost))
        return self._again[state]

    def _wrong_again(self, name: str, here: Path, lost: set[str]) -> list[str]:
        ended = self.do(name, here)
        if ended is None:
            return ["run again: hangs"]
        if ended.status and not (name in REFUSES_AGAIN and "exists already" in ended.stderr):
            return [f"run again: status {ended.status}: {ended.stderr[-1500:]}"]
        return self.differences(name, here, lost) + [f"left over: {path}" for path in leftovers(here)]

    def differences(self, name: str, here: Path, lost: set[str] = frozenset()) -> list[str]:  # pyright: ignore[reportArgumentType]
        """How a folder differs from that of the undisturbed command."""
        expected, found = self.undisturbed(name).content, content(here)
        wrong = [f"other content: {path}" for path in expected if found.get(path, expected[path]) != expected[path]]
        wrong += [f"missing: {path}" for path in sorted(expected.keys() - found.keys() - lost)]
        return wrong + [f"too much: {path}" for path in sorted(found.keys() - expected.keys())]

    def tell(self, trial: Trial) -> None:
        """Keep a trial, and print what is wrong."""
        self.trials.append(trial)
        with self._log.open("a") as log:
            log.write(json.dumps(asdict(trial)) + "\n")
        if trial.wrong:
            print(
                f"{trial.round}, {trial.name}, {trial.how}:", *(f"\n    {line}" for line in trial.wrong[:5]), flush=True
            )

    def known(self, round: str, name: str, how: str) -> bool:
        """Whether this was tried before."""
        return any((each.round, each.name, each.how) == (round, name, how) for each in self.trials)


def trials_in(folder: Path) -> list[Trial]:
    """All that were tried there."""
    log = folder / TRIALS
    return [Trial(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def _work(name: str, inputs: Path, here: str, control: str) -> None:
    os.chdir(here)
    if control:
        arm(Path(control))
    try:
        workloads.run(name, inputs, Path(here))
    finally:
        disarm()


def _state(here: Path) -> str:
    """What a folder holds: names, content where it is always the same, else sizes."""
    known = content(here)
    lines = []
    for path in sorted(here.rglob("*")):
        name = str(path.relative_to(here))
        size = path.lstat().st_size if path.is_file() else -1
        lines.append(f"{name} {known.get(name) or size}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def lost_by_design(seen: Seen, here: Path) -> set[str]:
    """Paths in the folder that could not be written, if all of them may be lost; raises ValueError otherwise."""
    names = {str(Path(path).relative_to(os.path.realpath(here))) for path in seen.failed}
    if needed := sorted(name for name in names if not MAY_LOSE.search(name)):
        raise ValueError(f"status 0, though {needed[0]} could not be written")
    return names


_MOST = ("slowest, ms", "highest load")
"""Columns that are no sums."""


def table(trials: Sequence[Trial]) -> str:
    """Sums over the trials of each command."""
    columns = list(dict.fromkeys(column for trial in trials for column in trial.counts))
    rows: dict[str, Counter] = {}
    for trial in trials:
        for column, number in trial.counts.items():
            for name in (trial.name, "**all**"):
                row = rows.setdefault(name, Counter())
                row[column] = max(row[column], number) if column in _MOST else row[column] + number
    rows["**all**"] = rows.pop("**all**", Counter())
    return _rows(
        ["command", *columns], ([name, *(str(row[column]) for column in columns)] for name, row in rows.items())
    )


_SUMMED = {
    "tried": ("tried",),
    "hit before the end": ("hit before the end", "really hit"),
    "one line": ("one line", "as promised"),
    "to its end": ("goes on without it", "all made", "ended before", "both well"),
    "tracebacks": ("tracebacks",),
    "accepted though wrong": ("accepted though wrong",),
    "hangs": ("hangs",),
    "same content after": ("identical", "identical after"),
    "left over": ("left over",),
}
"""Columns of the page → those of rounds that are summed in them."""
_ROUNDS = {
    "kill": "killed, run again",
    "disk": "full disk, run again",
    "limits": "read-only, no home, no /dev/shm, `ulimit -f`",
    "signals": "SIGINT, SIGTERM, SIGHUP",
    "pairs": "two at a time",
}


def page(folder: Path) -> str:
    """The tables of docs/promises.md: what was tried of all commands, what came of it, and how soon signals ended them."""
    trials = trials_in(folder)
    of = {round: [trial for trial in trials if trial.round == round] for round in [*_ROUNDS, "long"]}
    tried = [
        [words]
        + [
            str(sum(trial.counts.get(name, 0) for trial in of[round] for name in names))
            if any(name in trial.counts for trial in of[round] for name in names)
            else ""
            for names in _SUMMED.values()
        ]
        for round, words in _ROUNDS.items()
    ]
    commands = list(dict.fromkeys(trial.name for round in _ROUNDS for trial in of[round]))
    each = [
        [name]
        + [
            _of_all(
                sum(trial.name == name for trial in of[round]), folder / f"{name}.json" if round == "disk" else None
            )
            for round in _ROUNDS
        ]
        for name in commands
    ]
    ended = {name: [trial.counts for trial in of["signals"] if trial.name == name] for name in commands}
    ended = {name: [counts for counts in rows if not counts["ended before"]] for name, rows in ended.items()}
    seconds = [
        [
            name,
            str(len(rows)),
            f"{statistics.median(counts['slowest, ms'] for counts in rows) / 1000:.1f}",
            f"{max(counts['slowest, ms'] for counts in rows) / 1000:.1f}",
            str(max(counts.get("highest load", 0) for counts in rows) or ""),
        ]
        for name, rows in ended.items()
        if rows
    ]
    long = [[trial.name] + [str(trial.counts[column]) for column in _LONG] for trial in of["long"]]
    return "\n\n".join(
        _rows(columns, rows)
        for columns, rows in (
            (("round", *_SUMMED), tried),
            (("command", *_ROUNDS.values()), each),
            (("signals of", "ended by one", "seconds, median", "slowest", "highest load"), seconds),
            (("long run", *_LONG), long),
        )
    )


def _of_all(tried: int, undisturbed: Path | None) -> str:
    """``tried`` of how many changes of the disk the command makes, where that is what was tried."""
    changes = json.loads(undisturbed.read_text())["changes"] if undisturbed and undisturbed.exists() and tried else 0
    return f"{tried} of {changes}" if changes else str(tried)


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join(lines + [f"| {' | '.join(cells)} |" for cells in rows])


_LONG = (
    "done", "MiB at half", "MiB in the end", "bytes more for each", "open files at half", "open files in the end", "zombies",
)  # fmt: skip
