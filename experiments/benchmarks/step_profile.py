"""Where the time of a training step goes: its parts by JAX's profiler, with the operations that are counted in each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import jax
from jax.profiler import ProfileData

from experiments.accelerators.places import PARTS, PASSES, Place, place_of
from experiments.benchmarks import flops

Kind = Literal["products", "convolutions", "copies", "the rest"]
KINDS: tuple[Kind, ...] = ("products", "convolutions", "copies", "the rest")
_CONTAINERS = ("while", "call", "conditional")
_QUEUES = ("Stream", "XLA Ops")
"""Of GPUs and of TPUs, as the profiler calls them."""
_PRODUCTS = ("dot", "ynn_fusion", "custom-call")
_COPIES = ("copy", "transpose", "broadcast", "slice", "gather", "pad", "concatenate", "bitcast")


@dataclass(frozen=True)
class StepProfile:
    """One step, seen by the profiler."""

    seconds: Mapping[tuple[Place, Kind], float] = field(default_factory=dict)
    """What the kernels of a place and kind took, added up over threads."""
    operations: Mapping[Place, float] = field(default_factory=dict)
    """Multiplications and additions of the products and convolutions of a place."""
    launches: int = 0
    """Kernels started in the step."""

    def report(self, product_gflops: float) -> Iterator[str]:
        """The table, line by line.

        Args:
            product_gflops: GFLOP/s of a large matrix product on one core of the machine.
        """
        total = sum(self.seconds.values())
        yield (
            "  {:<24} {:>7} {:>7} ".format("", "ms", "share")
            + "".join(f"{kind:>14}" for kind in KINDS)
            + ("{:>8} {:>9} {:>10}".format("GFLOP", "GFLOP/s", "of matmul"))
        )
        for part in (*PARTS, "other"):
            for direction in PASSES:
                place = Place(part, direction)
                kinds = [self.seconds.get((place, kind), 0.0) for kind in KINDS]
                if sum(kinds) > 0.001 * total:
                    yield self._row(f"{part}, {direction}", kinds, self.operations.get(place, 0.0), product_gflops)
        kinds = [sum(s for (_, kind), s in self.seconds.items() if kind == each) for each in KINDS]
        yield self._row(f"all {self.launches:,} kernels", kinds, sum(self.operations.values()), product_gflops)

    def _row(self, name: str, kinds: list[float], operations: float, product_gflops: float) -> str:
        total, own = sum(self.seconds.values()), sum(kinds)
        speed = operations / own / 1e9
        rate = f"{operations / 1e9:>8.1f} {speed:>9.0f} {speed / product_gflops:>10.0%}" if operations else ""
        return (
            f"  {name:<24} {own * 1e3:>7.1f} {own / total:>7.1%} "
            + "".join(f"{s / total:>14.1%}" for s in kinds)
            + rate
        )


def profile(
    compiled: jax.stages.Compiled, once: Callable[[], object], step: Callable, *arguments: Any, runs: int = 3
) -> StepProfile:
    """Watch ``runs`` steps, and divide by their number.

    Args:
        compiled: the program; its text says which part of the model a kernel belongs to.
        once: takes one step with it and waits for the result.
        step: what was compiled, for ``arguments`` (shapes suffice), to count operations.
    """
    names = _scopes(compiled.as_text() or "")
    seconds: defaultdict[tuple[Place, Kind], float] = defaultdict(float)
    launches = 0
    for kernel, duration in watched(once, runs):
        launches += 1
        seconds[place_of(names.get(kernel, "")), kind_of(kernel)] += duration
    operations: defaultdict[Place, float] = defaultdict(float)
    for scope, count in flops.by_scope(step, *arguments):
        operations[place_of(scope)] += count
    return StepProfile(dict(seconds), dict(operations), launches // runs)


def watched(once: Callable[[], object], runs: int = 3) -> Iterator[tuple[str, float]]:
    """(kernel, its seconds divided by ``runs``) of everything that so many calls of ``once`` launch."""
    with TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(runs):
                once()
        for kernel, duration in _events(Path(folder)):
            if not kernel.startswith(_CONTAINERS):
                yield kernel, duration / runs


def kind_of(kernel: str) -> Kind:
    """From a kernel's name, which XLA makes of the operations in it; a fusion that also computes is no copy."""
    if kernel.startswith(_PRODUCTS):
        return "products"
    if "conv" in kernel and "convert" not in kernel:
        return "convolutions"
    words = re.sub(r"(_fusion|wrapped_|\.\d+)", "", kernel).replace("-", "_").split("_")
    moves = {*_COPIES, "dynamic", "update", "copy"}
    return "copies" if all(word in moves for word in words) else "the rest"


def _events(folder: Path) -> Iterator[tuple[str, float]]:
    """(kernel, seconds) of everything that ran on the host's threads, or on an accelerator's queues."""
    for path in folder.rglob("*.xplane.pb"):
        for plane in ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                if plane.name.startswith("/device:") and not line.name.startswith(_QUEUES):
                    continue  # what they ran, summed up in other ways
                for event in line.events:
                    kernel = dict(event.stats).get("hlo_op")
                    if kernel is not None:
                        yield str(kernel), event.duration_ns / 1e9


def _scopes(program: str) -> dict[str, str]:
    """Kernel → the scopes that it was written in; what XLA added has those of its body, operands or users."""
    lines = [line for line in program.splitlines() if " = " in line or line.rstrip().endswith("{")]
    own, near, body, within = {}, {}, {}, {}
    computation = ""
    for line in lines:
        if line.rstrip().endswith("{") and " = " not in line:
            computation = line.removeprefix("ENTRY ").lstrip("%").split(" ", 1)[0]
            continue
        name = line.split(" = ", 1)[0].split("%")[-1].strip()
        scope = re.search(r'op_name="([^"]+)"', line)
        called = re.search(r"calls=%?([\w.\-]+)", line)
        own[name] = scope[1] if scope else ""
        if called:
            body[name] = called[1]
        if scope and "/" in scope[1]:
            within.setdefault(computation, Counter())[scope[1]] += 1
        for operand in re.findall(r"%([\w.\-]+)", line.split(" = ", 1)[1].split(", metadata")[0]):
            near.setdefault(name, []).append(operand)
            near.setdefault(operand, []).append(name)

    def known(name: str) -> str:
        if own.get(name):
            return own[name]
        return within[body[name]].most_common(1)[0][0] if within.get(body.get(name, "")) else ""

    def nearest(name: str) -> str:
        seen, row = {name}, [name]
        for _ in range(4):
            for each in row:
                if found := known(each):
                    return found
            row = _new(seen, (other for each in row for other in near.get(each, ())))
        return ""

    return {name: nearest(name) for name in own}


def _new(seen: set[str], names: Iterable[str]) -> list[str]:
    """Those not seen before, which are seen then."""
    found = [name for name in dict.fromkeys(names) if name not in seen]
    seen.update(found)
    return found
