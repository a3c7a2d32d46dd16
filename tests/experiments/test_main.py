"""``attribute-subspaces``: the list of commands, unknown ones, and a folder of the user's own that is called experiments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import __main__ as entry

ROOT = Path(__file__).parents[2]


def test_every_command_is_listed_and_exists(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attribute-subspaces"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0
    listed = capsys.readouterr().out
    modules = {path.stem for path in (ROOT / "experiments").glob("*.py") if "\nif __name__" in path.read_text()}
    assert modules - {"__main__"} == set(entry.COMMANDS)
    assert all(f"  {name} " in listed for name in [*entry.COMMANDS, entry.CONVERT])


def test_a_typo_gets_one_line_with_the_command_that_was_meant(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attribute-subspaces", "extrct"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and "extract" in error


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["generate", "--help"], 0), (["weights_convert", "--help"], 0), (["generate", "--vews=4"], 2)],
)
def test_a_folder_of_the_same_name_does_not_shadow_the_commands(tmp_path, arguments, status):
    """As pip installs it: a script elsewhere, run in the user's project."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "attribute-subspaces"
    script.write_text("from experiments.__main__ import main\nmain()\n")
    (tmp_path / "project" / "experiments").mkdir(parents=True)
    (tmp_path / "project" / "experiments" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path / "project",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert status == 0 or done.stderr.startswith("attribute-subspaces generate: ")
    assert ("--verbosity" in done.stdout or "flags:" in done.stdout) == (status == 0)
