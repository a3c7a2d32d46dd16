"""What is left of adapters' first input factors, as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.analysis.first_factors import FirstFactorRow
from experiments.analysis.section import Columns, Section, sheet, table

_COLUMNS: Columns[FirstFactorRow] = (
    ("adapters of", lambda row: row.attribute),
    ("part", lambda row: row.part),
    ("matrices", lambda row: row.matrices),
    ("row space in the first factor", lambda row: row.row_space),
    ("energy in the first factor", lambda row: row.energy),
    ("by chance", lambda row: row.chance),
    ("moved", lambda row: row.moved),
)


def first_factors_section(rows: Sequence[FirstFactorRow]) -> Section:
    """A table, and the same as a file."""
    made = sheet(rows, _COLUMNS)
    return Section(
        "What is left of the first draw?",
        [
            "The input factor B of a LoRA begins with random numbers, which were drawn again here from the adapters' seeds. "
            "Where most of an adapter's row space still lies in them, what adapters have in common on the input side is what "
            "the draws have in common, and a subspace mined from them has nearly random inputs.",
            table(
                rows,
                _COLUMNS,
                "Shares from 0 to 1. Row space: of B, mean over matrices. Energy: of ‖dW‖². By chance: of another random "
                "factor of this size. Moved: ‖B − B₀‖/‖B₀‖.",
            ),
        ],
        sheets={"first_factors": made},
        numbers=made.records(),
    )
