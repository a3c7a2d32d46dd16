"""Rounds of misfortune: commands that are killed, signalled, run out of disk, are limited, or started twice.

``python -m tests.robustness.rounds kill --count=100``, ``disk``, ``limits``, ``signals``, ``pairs`` and ``long`` print a table;
``--only=NAME,…`` takes some commands, ``--seed`` draws other moments. With ``--folder`` every trial is kept there, and the same
command again goes on; ``page`` prints what docs/promises.md shows of them. Status 1 if anything was not as it says there.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import pwd
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tests.robustness import faults, workloads
from tests.robustness.bench import Bench, Trial, lost_by_design, page, table
from tests.robustness.children import Child, Ended, alive
from tests.robustness.faults import Faults
from tests.robustness.workloads import REFUSES_AGAIN, WORKLOADS, leftovers

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
FIRST = 200
"""Changes of the disk at which it fails."""
READ_ONLY_EVEN_FOR_ROOT = 1
"""CAP_DAC_OVERRIDE, without which root too may write only where the mode of a folder says so."""


def kill(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """Half of the kills come at a change of the disk, half at a moment; then the command is run again."""
    draws = random.Random(seed)
    for number in range(count):
        name = names[number % len(names)]
        at_change, part = (number // len(names)) % 2 == 0, draws.uniform(0, 1)
        how = f"seed {seed}, {part:.3f} of the {'changes' if at_change else 'time'}"
        if bench.known("kill", name, how):
            continue
        usual, here = bench.undisturbed(name), bench.place()
        if at_change:
            broken = Faults(here, 1 + int(part * usual.changes), control=bench.control(here))
            child = bench.start(name, here, broken.install)
            children = []
        else:
            child = bench.start(name, here)
            time.sleep((0.05 + 0.95 * part) * usual.seconds)
            children = child.descendants()
            child.send(signal.SIGKILL)
        ended = bench.ended(child)
        hit = ended is not None and ended.status == -signal.SIGKILL
        wrong = [] if ended is not None else ["hangs"]
        wrong += [f"orphan {pid}" for pid in _outliving(children)]
        again = bench.again(name, here)
        counts = {
            "tried": 1, "hit before the end": hit, "identical": not again,
            "left over": sum(line.startswith("left over") for line in again), "orphans": len(wrong),
        }  # fmt: skip
        bench.tell(Trial("kill", name, how, counts, wrong + again))
        bench.clear(here)
        yield


def _outliving(children: Sequence[int], seconds: float = 10) -> list[int]:
    """Those that have not noticed the end of their parent."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in children if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def disk(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """The disk is full at ``count`` of the first 200 changes: by turns at this one alone, and at all from it on."""
    for name in names:
        changes = min(FIRST, bench.undisturbed(name).changes)
        for at in sorted({1 + round(i * (changes - 1) / max(1, count - 1)) for i in range(count)}):
            once = (at + seed) % 2 == 0
            how = f"change {at}{' alone' if once else ' and all after it'}"
            if not bench.known("disk", name, how):
                for alone in (False, True):  # what was wrong is tried once more, in a process that does nothing else
                    here = bench.place()
                    broken = Faults(here, at, errno.ENOSPC, once=once, control=bench.control(here))
                    ended = (
                        bench.ended(bench.start(name, here, broken.install)) if alone else bench.do(name, here, broken)
                    )
                    trial = judged(bench, Trial("disk", name, how), here, ended, broken, errno.ENOSPC)
                    bench.clear(here)
                    if not trial.wrong:
                        break
                bench.tell(trial)
                yield


def judged(bench: Bench, trial: Trial, here: Path, ended: Ended | None, broken: Faults, code: int) -> Trial:
    """``trial`` with what its end was worth, and what happens when the command is run again where the disk takes all."""
    seen, name = broken.seen(), trial.name
    hit, one_line, by_design, accepted, lost = bool(seen.failed), False, False, False, set[str]()
    if ended is None:
        trial.wrong.append("hangs")
    elif ended.status == 0 and hit:
        try:
            lost = lost_by_design(seen, here)
            by_design = True
        except ValueError as error:
            trial.wrong.append(str(error))
        differences = bench.differences(name, here, lost)
        accepted = bool(trial.wrong or differences)
        trial.wrong += differences
    elif ended.status != 0:
        wrong = _line_wrong(ended, here, os.strerror(code), seen.failed)
        wrong += [f"gone: {path}" for path in seen.renamed if not os.path.lexists(path) and _is_finished(path)]
        one_line = not wrong
        trial.wrong += wrong
    left = leftovers(here)
    trial.wrong += [f"left over: {path}" for path in left]
    again = bench.again(name, here, lost)
    trial.wrong += again
    trial.counts = {
        "tried": 1, "really hit": hit, "one line": one_line, "goes on without it": by_design,
        "tracebacks": ended is not None and "Traceback" in ended.stderr, "accepted though wrong": accepted,
        "hangs": ended is None, "identical after": not again,
        "left over": len(left) + sum(line.startswith("left over") for line in again),
    }  # fmt: skip
    return trial


def _line_wrong(ended: Ended, here: Path, words: str, failed: Sequence[str] = ()) -> list[str]:
    """What is wrong with how a command ended for want of a disk: the last line names the file and says what to do."""
    last = ended.lines[-1] if ended.lines else ""
    wrong = [] if ended.status == 2 else [f"status {ended.status}: {ended.stderr[-1500:]}"]
    wrong += ["traceback: " + ended.stderr[-1500:]] if "Traceback" in ended.stderr and ended.status == 2 else []
    if words.lower() not in last.lower() or "; " not in last or not _names(last, here, failed):
        wrong.append(f"last line: {last[-400:]} ({failed[:1]})")
    return wrong


_HIDDEN = re.compile(
    r"/\.([^/]+?)(?:\.[a-z0-9_]{8}\.partial(?:/\1(?=/|$))?|\.lock)(?=/|$)|\.orbax-checkpoint-tmp(?=/|$)"
)


def _names(line: str, here: Path, failed: Sequence[str]) -> bool:
    """Whether a line names one of the paths, as it would be called when complete, or a folder above it, up to ``here``."""
    for path in failed or [str(here)]:
        whole = Path(_HIDDEN.sub(lambda found: f"/{found[1]}" if found[1] else "", path))
        above = [folder for folder in whole.parents if folder.is_relative_to(here)]
        if any(f"{name}:" in line for name in [path, whole, *above]):
            return True
    return not failed and f"{here}/" in line


def _is_finished(path: str) -> bool:
    """Whether a name is of something that is complete, and that nothing replaces while a command runs."""
    return not any(word in path for word in (".partial", "checkpoint", ".lock"))


def limits(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """Each command where it may write nothing, has no home or no /dev/shm, or may write only small files (``ulimit -f``)."""
    for name in names:
        sizes = sorted(size for size in bench.undisturbed(name).sizes if size > 1)
        tries: dict[str, tuple[int, Callable[[Path, Faults], object]]] = {
            "folder of mode 0555": (errno.EACCES, _read_only),
            "disk mounted read-only": (errno.EROFS, lambda here, broken: broken.install()),
            "no HOME": (0, lambda here, broken: _without_home()),
            "no /dev/shm": (0, lambda here, broken: broken.install()),
        }
        for size in sorted({sizes[len(sizes) // 2], sizes[-1]}):
            limit = size - 1
            tries[f"ulimit -f, {'largest' if size == sizes[-1] else 'median'}"] = (
                errno.EFBIG,
                lambda here, broken, limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            )
        for how, (code, before) in tries.items():
            if bench.known("limits", name, how):
                continue
            here = bench.place()
            here.mkdir(parents=True)
            of_shim = {"at": 1, "code": code} if code == errno.EROFS else {}
            of_shim |= {"no_semaphores": errno.ENOENT} if how == "no /dev/shm" else {}
            broken = Faults(here, **of_shim, control=bench.control(here))
            ended = bench.ended(bench.start(name, here, partial(before, here, broken)))
            here.chmod(0o755)
            wrong = ["hangs"] if ended is None else []
            if ended is not None and ended.status == 0:
                wrong += [f"status 0: {line}" for line in bench.differences(name, here)]
            elif ended is not None and not code:
                wrong.append(f"status {ended.status}: {ended.stderr[-1500:]}")
            elif ended is not None:
                wrong += _line_wrong(ended, here, os.strerror(code))
            left, again = leftovers(here), bench.again(name, here)
            counts = {
                "tried": 1, "one line": ended is not None and ended.status == 2 and not wrong,
                "all made": ended is not None and ended.status == 0 and not wrong,
                "tracebacks": ended is not None and "Traceback" in ended.stderr, "hangs": ended is None,
                "identical after": not again, "left over": len(left),
            }  # fmt: skip
            bench.tell(Trial("limits", name, how, counts, wrong + [f"left over: {path}" for path in left] + again))
            bench.clear(here)
            yield


def _read_only(here: Path, broken: Faults) -> None:
    here.chmod(0o555)
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(24, READ_ONLY_EVEN_FOR_ROOT)  # PR_CAPBSET_DROP, for what this process starts
        if libc.capget(header, data):
            raise OSError(ctypes.get_errno(), "capget")
        for place in range(3):
            data[place] &= ~(1 << READ_ONLY_EVEN_FOR_ROOT)
        if libc.capset(header, data):
            raise OSError(ctypes.get_errno(), "capset")


def _without_home() -> None:
    """As in a container with a user who is in no list."""
    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR", "MPLCONFIGDIR"):
        os.environ.pop(name, None)

    def unknown(user: object) -> object:
        raise KeyError(user)

    pwd.getpwuid = pwd.getpwnam = unknown  # pyright: ignore[reportAttributeAccessIssue]


def signals(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """``count`` moments of each command, from its start on, by signals in turn."""
    for name in [name for name in names if name != "merge"]:  # which is over too soon
        draws = random.Random(f"{seed} {name}")
        for number in range(count):
            asked, status = list(SIGNALS.items())[(number + seed) % len(SIGNALS)]
            part = draws.uniform(0.05, 0.95)
            how = f"seed {seed}, {asked.name} after {part:.3f} of the time"
            if bench.known("signals", name, how):
                continue
            seconds, here = bench.undisturbed(name).seconds, bench.place()
            child = bench.start(name, here)
            time.sleep(part * seconds)
            children, sent = child.descendants(), time.monotonic()
            child.send(asked)
            ended = bench.ended(child)
            took, load = time.monotonic() - sent, os.getloadavg()[0]
            wrong = [] if ended is not None else ["hangs"]
            before = ended is not None and ended.status == 0
            if ended is not None and not before:
                lines = [line for line in ended.lines if "interrupted" in line]
                wrong += [] if ended.status == status else [f"status {ended.status}: {ended.stderr[-1000:]}"]
                wrong += (
                    []
                    if len(lines) == 1 and "goes on" in lines[0] == ended.lines[-1]
                    else [f"lines: {ended.lines[-3:]}"]
                )
                wrong += ["traceback"] if "Traceback" in ended.stderr or "Exception ignored" in ended.stderr else []
                wrong += [f"took {took:.2f} s"] if took > 2 else []
                wrong += [f"orphan {pid}" for pid in _outliving(children)]
            left, again = leftovers(here), bench.again(name, here)
            counts = {
                "tried": 1, "ended before": before, "as promised": not before and not wrong, "left over": len(left),
                "slowest, ms": 0 if before else round(1000 * took), "highest load": round(load), "identical after": not again,
            }  # fmt: skip
            bench.tell(Trial("signals", name, how, counts, wrong + [f"left over: {path}" for path in left] + again))
            bench.clear(here)
            yield


def pairs(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """Two of the same command in the same folder, the second a little later."""
    for name in names:
        draws = random.Random(f"{seed} {name}")
        for number in range(count):
            part = draws.uniform(0, 0.5) if number else 0.02
            how = f"seed {seed}, second after {part:.3f} of the time"
            if bench.known("pairs", name, how):
                continue
            seconds, here = bench.undisturbed(name).seconds, bench.place()
            first = bench.start(name, here)
            time.sleep(part * seconds)
            second = bench.start(name, here, beside="b")
            ended = [each for each in (bench.ended(first), bench.ended(second)) if each is not None]
            wrong = ["hangs"] * (2 - len(ended))
            bad = [each for each in ended if each.status]
            if name in REFUSES_AGAIN:  # one works
                bad = [each for each in bad if each.status != 2 or "Traceback" in each.stderr or len(bad) > 1]
            wrong += [f"status {each.status}: {each.stderr[-800:]}" for each in bad]
            said = any("waiting until" in each.stderr or "is writing it" in each.stderr for each in ended)
            left, again = leftovers(here), bench.again(name, here)
            counts = {
                "tried": 1, "both well": not wrong, "said for whom": said, "identical": not again, "left over": len(left),
            }  # fmt: skip
            bench.tell(Trial("pairs", name, how, counts, wrong + [f"left over: {path}" for path in left] + again))
            bench.clear(here)
            yield


LONG = {
    "generate": ("--datasets=1", "--scenes={count}"),
    "finetune": ("--steps={count}",),
    "finetune nano": ("--steps={count}",),
}
"""Workload → flags after its usual ones: scenes of stand-in rendering, steps of the tiny model and of the shipped one."""


def long(bench: Bench, names: Sequence[str], count: int, seed: int) -> Iterator[None]:
    """``count`` scenes, and as many steps: memory in the course of the second half, open files, zombies."""
    for name in [name for name in names if name in LONG]:
        if bench.known("long", name, f"{count}"):
            continue
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
            time.sleep(0.5)
        ended = child.wait()
        later = [sample for sample in samples if count / 2 <= sample[0] < count]  # before the contact sheet, say
        slope = np.polyfit([done for done, _, _ in later], [memory for _, memory, _ in later], 1)[0]
        counts = {
            "status": ended.status, "done": _done(here), "MiB at half": round(later[0][1]),
            "MiB in the end": round(later[-1][1]), "bytes more for each": round(2**20 * slope),
            "open files at half": later[0][2], "open files in the end": later[-1][2], "zombies": zombies,
        }  # fmt: skip
        wrong = [ended.stderr[-1000:]] if ended.status or zombies else []
        bench.tell(Trial("long", name, f"{count}", counts, wrong))
        bench.clear(here)
        yield


def _done(here: Path) -> int:
    """Scenes, or steps that are in a log."""
    logs = list(here.rglob("metrics.jsonl"))
    return sum(1 for _ in logs[0].open()) if logs else len(list(here.glob("made/dataset_00/scene_*")))


ROUNDS = {"kill": kill, "disk": disk, "limits": limits, "signals": signals, "pairs": pairs, "long": long}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("round", choices=[*ROUNDS, "page"])
    parser.add_argument("--count", type=int, default=None, help="kill: of all commands; else of each")
    parser.add_argument("--only", default=None, help="names of workloads, with commas; all of the round if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(LONG if given.round == "long" else WORKLOADS)
    if given.round == "page":
        print(page(given.folder))
        return 0
    faults.started_with_shim("tests.robustness.rounds", arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="rounds-"))
    count = given.count or {"kill": 100, "disk": FIRST, "limits": 1, "signals": 3, "pairs": 1, "long": 300}[given.round]
    bench = Bench(folder.absolute())
    for _ in ROUNDS[given.round](bench, names, count, given.seed):
        pass
    bench.close()
    tried = [trial for trial in bench.trials if trial.round == given.round and trial.name in names]
    print(table(tried))
    if given.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return int(any(trial.wrong for trial in tried))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
