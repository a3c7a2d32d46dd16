"""The text of an optimised program of XLA, taken apart: computations, instructions, shapes, and how often each runs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


class Shape(NamedTuple):
    """An array's type and sizes."""

    dtype: str
    sizes: tuple[int, ...]
    on_chip: bool = False
    """In a TPU's vector memory, which costs no traffic."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.sizes)

    @property
    def bytes(self) -> float:
        """In the chip's main memory."""
        return 0.0 if self.on_chip else self.size * _BYTES.get(self.dtype, 0)


@dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    """Of what it gives, several for a tuple."""
    operands: tuple[str, ...]
    """Names of the instructions whose results it takes."""
    attributes: str
    """The rest of the line."""
    is_root: bool

    @property
    def bytes(self) -> float:
        """Of what it gives."""
        return sum(shape.bytes for shape in self.shapes)

    @property
    def called(self) -> dict[str, str]:
        """Attribute → the computation that it names."""
        return dict(_CALLED.findall(self.attributes))

    @property
    def scope(self) -> str:
        """The scopes that JAX named it by."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """What a custom call calls; empty for anything else."""
        found = re.search(r'custom_call_target="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def ints(self, attribute: str) -> tuple[int, ...]:
        """The numbers in ``attribute={…}``."""
        found = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", self.attributes)
        return tuple(map(int, filter(None, found[1].split(",")))) if found else ()


Computation = Sequence[Instruction]


@dataclass(frozen=True)
class Hlo:
    """A program."""

    computations: Mapping[str, Computation]
    entry: str
    _by_name: dict[str, Instruction] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> Hlo:
        """From what ``compiled.as_text()`` gives."""
        computations: dict[str, list[Instruction]] = {}
        entry, current = "", None
        for line in text.splitlines():
            if current is not None and line[:1] == " ":
                if found := _INSTRUCTION.match(line):
                    current.append(_instruction(*found.groups()))
            elif line.endswith("{") and not line.startswith("HloModule"):
                name = line.removeprefix("ENTRY ").lstrip("%").split(" ", 1)[0].rstrip("(")
                current = computations.setdefault(name, [])
                entry = name if line.startswith("ENTRY") else entry
            else:
                current = None
        return cls(computations, entry)

    @cached_property
    def instructions(self) -> Mapping[str, Instruction]:
        """By name, which is unique in a program."""
        return {each.name: each for computation in self.computations.values() for each in computation}

    def running(self) -> Iterator[tuple[Instruction, float]]:
        """What is launched, and how often: loops of known length count every pass, of branches each counts."""
        for name, times in self._repeats().items():
            for each in self.computations[name]:
                yield each, times

    def inside(self, instruction: Instruction) -> Iterator[Instruction]:
        """What a fusion is made of, those that it is nested in included."""
        body = instruction.called.get("calls")
        for each in self.computations.get(body or "", ()):
            yield each
            yield from self.inside(each)

    def _repeats(self) -> dict[str, float]:
        found: defaultdict[str, float] = defaultdict(float)

        def visit(name: str, times: float) -> None:
            found[name] += times
            for each in self.computations.get(name, ()):
                called = each.called
                if each.opcode == "while":
                    visit(called["body"], times * self._trips(each))
                elif each.opcode == "conditional":
                    branches = _BRANCHES.search(each.attributes)
                    names = _OPERAND.findall(branches[1]) if branches else list(called.values())
                    for branch in names:
                        visit(branch, times)
                elif each.opcode == "call":
                    visit(called["to_apply"], times)

        visit(self.entry, 1)
        return {name: times for name, times in found.items() if name in self.computations}

    def _trips(self, loop: Instruction) -> int:
        """How often a loop runs: as XLA says it for GPUs, else up to the constant that its counter is compared with."""
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        condition = self.computations.get(loop.called.get("condition", ""), ())
        counts = {each.name: each.operands[0] for each in condition if each.opcode == "constant"}
        for each in condition:
            if each.is_root and "direction=LT" in each.attributes and counts.get(each.operands[-1], "").isdigit():
                return int(counts[each.operands[-1]])
        return 1


def _instruction(root: str | None, name: str, shape: str, opcode: str, rest: str) -> Instruction:
    operands, attributes = _split(rest)
    shapes = tuple(
        Shape(dtype, tuple(map(int, filter(None, sizes.split(",")))), "S(1)" in layout)
        for dtype, sizes, layout in _ARRAY.findall(shape)
    )
    names = (operands,) if opcode in ("parameter", "constant") else tuple(_OPERAND.findall(operands))
    return Instruction(name, opcode, shapes, names, attributes, root is not None)


def _split(rest: str) -> tuple[str, str]:
    """What stands inside the parenthesis that is open at the beginning, and what follows it."""
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if not depth:
            return rest[:place], rest[place + 1 :]
    return rest, ""
