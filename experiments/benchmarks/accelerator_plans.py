"""``python -m experiments.benchmark memory``: the LoRA step of VGGT-1B, compiled for every chip that is described."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import msgspec

from experiments.accelerators.absent import compile_for
from experiments.accelerators.chips import CHIPS
from experiments.accelerators.compiling import StepProgram, TooLarge, topology
from experiments.accelerators.layouts import LAYOUTS, TABLE, USUAL, Row, program_of, table
from experiments.accelerators.planning import row_of
from experiments.accelerators.wording import markdown
from experiments.benchmarks import machine
from experiments.process.mesh_sizes import MeshSizes
from experiments.storage.files import write_bytes
from subspace.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "accelerators.md"
_BEGIN, _END = "<!-- the table, as `experiments.benchmark memory --write` makes it -->\n", "<!-- end of the table -->"
_SEVERAL = ("data:2", "data:4", "adapter:2", "model:2")
"""Meshes of H100s."""
_LARGE = 50e9
"""Bytes for a program, from which on a layout that keeps all may fit."""


class Case(NamedTuple):
    """A program of the table."""

    chip: str
    program: StepProgram
    layout: int
    mesh: str = ""


def report(chips: Sequence[str], write: bool) -> Iterator[str]:
    """The table, row by row as programs are compiled; ``write`` keeps it in the repository.

    Raises InputError where a plugin is missing that compiles for one of ``chips``.
    """
    for name in chips:
        topology(CHIPS[name])  # whether it can be compiled for
    rows = [row for row in table() if row.chip not in chips]
    yield "LoRA of VGGT-1B (r = 16) on pictures of 518², bfloat16, blocks recomputed: as compiled for each chip, none was there"
    head, line, *_ = markdown([])
    yield head
    yield line
    for name in chips:
        for case in _cases(name):
            rows.append(machine.in_own_process(_compiled, case))
            yield list(markdown(rows[-1:]))[-1]
        for place, layout in enumerate(LAYOUTS):
            rows.append(machine.in_own_process(_compiled, Case(name, program_of("vggt_1b", layout, 16), place)))
            yield list(markdown(rows[-1:]))[-1]
            peak = rows[-1].peak
            if peak is not None and peak <= CHIPS[name].usable:
                break
    if write:
        keep(rows)
        yield f"wrote {TABLE} and {PAGE}"


def keep(rows: Iterable[Row], page: Path = PAGE, file: Path = TABLE) -> None:
    """Put the table into the package and into its page."""
    order = list(CHIPS)
    rows = sorted(
        rows, key=lambda row: (order.index(row.chip), row.mesh, row.adapters, row.views, row.sequences, row.layout)
    )
    write_bytes(file, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise InputError(f"{page}: lacks the place of the table")
    write_bytes(page, "".join([before, begin, *(f"{line}\n" for line in markdown(rows)), end, after]).encode())


def _cases(chip: str) -> Iterator[Case]:
    """Eight views, one sequence and four; with all kept on large chips; on H100s two adapters, and several devices."""
    step = program_of("vggt_1b", LAYOUTS[USUAL], 8)
    yield Case(chip, replace(step, sequences=1), USUAL)
    for place in range(0 if CHIPS[chip].usable > _LARGE else USUAL, USUAL + 1):
        yield Case(chip, program_of("vggt_1b", LAYOUTS[place], 8), place)
    if chip == "h100":
        yield Case(chip, replace(step, adapters=2), USUAL)
        for mesh in _SEVERAL:
            yield Case(chip, replace(step, adapters=MeshSizes.of(mesh).adapter), USUAL, mesh)


def _compiled(case: Case) -> Row:
    """In a process of its own, which leaves no memory behind."""
    jax.config.update("jax_platforms", "cpu")
    chip, sizes = CHIPS[case.chip], MeshSizes.of(case.mesh) if case.mesh else MeshSizes()
    try:
        return row_of(case.program, compile_for(case.program, chip, sizes), chip, case.layout, case.mesh)
    except TooLarge:
        return row_of(case.program, None, chip, case.layout, case.mesh)
    except Exception as error:  # whatever a compiler does not like is a row of the table
        refused = row_of(case.program, None, chip, case.layout, case.mesh)
        return msgspec.structs.replace(refused, error=f"{type(error).__name__}: {error}".partition("\n")[0][:120])
