"""Typed rows as CSV files, JSON records and tables of the page."""

from dataclasses import dataclass

import pytest

from experiments.analysis.section import Columns, sheet, table


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    share: float | None


ROWS = [Row("first", 12345, 1 / 3), Row("second, quoted", 0, None)]
COLUMNS: Columns[Row] = (
    ("name", lambda row: row.name),
    ("count", lambda row: row.count),
    ("share", lambda row: row.share),
)


def test_a_sheet_keeps_what_json_and_csv_need(tmp_path):
    contents = sheet(ROWS, COLUMNS)
    assert contents.records()[0] == {"name": "first", "count": 12345, "share": 1 / 3}
    assert contents.records()[1]["share"] is None
    contents.write(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines() == [
        "name,count,share",
        "first,12345,0.3333333",
        '"second, quoted",0,',
    ]


def test_a_table_rounds_and_may_repeat_headings():
    shown = table(iter(ROWS), [*COLUMNS, ("share", lambda row: f"{row.count:.0e}")], "What is what.")
    assert shown.headings == ["name", "count", "share", "share"] and shown.caption == "What is what."
    assert shown.rows == [["first", "12,345", "0.333", "1e+04"], ["second, quoted", "0", "–", "0e+00"]]


@pytest.mark.parametrize("rows", [[], ROWS])
def test_headings_do_not_depend_on_rows(rows):
    assert sheet(rows, COLUMNS).headings == ("name", "count", "share")
