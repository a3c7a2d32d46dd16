"""What docs/promises.md shows of the trials in a folder."""

import json
from dataclasses import asdict

from tests.robustness.bench import TRIALS, Trial, page


def _signal(how, seconds, load, before=False):
    counts = {"tried": 1, "ended before": before, "as promised": not before, "highest load": load}
    return Trial("signals", "mine", how, counts | {"slowest, ms": 0 if before else int(1000 * seconds)})


def test_the_page_says_how_many_of_how_many_and_how_soon(tmp_path):
    trials = [
        Trial("disk", "mine", "change 1 alone", {"tried": 1, "really hit": True, "one line": True}),
        Trial("disk", "mine", "change 9 alone", {"tried": 1, "really hit": True, "goes on without it": True}),
        _signal("a", 0.1, 3), _signal("b", 1.9, 14), _signal("c", 0.3, 5), _signal("d", 0, 40, before=True),
    ]  # fmt: skip
    (tmp_path / TRIALS).write_text("".join(json.dumps(asdict(trial)) + "\n" for trial in trials))
    (tmp_path / "mine.json").write_text(json.dumps({"changes": 71}))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page(tmp_path).splitlines()]
    assert ["mine", "0", "2 of 71", "0", "4", "0"] in rows
    assert ["mine", "3", "0.3", "1.9", "14"] in rows
    (disk,) = (row for row in rows if row[:1] == ["full disk, run again"])
    assert disk[1:5] == ["2", "2", "1", "1"]
