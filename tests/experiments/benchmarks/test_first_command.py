"""``benchmark first_command``: README's commands are run in an empty place, and the table adds up."""

import json
from pathlib import Path

import pytest

from experiments.benchmarks import first_command
from experiments.benchmarks.first_command import EXTRACT, INSTALL, PREDECESSOR, Finished, report, run, table
from experiments.process.stages import StageTime
from subspace.errors import InputError

ROOT = Path(__file__).parents[3]
STAGES = [StageTime("rendering", 30.0, 40.0, 12, 1), StageTime("training", 60.0, 100.0, 2, 3)]


def test_the_commands_are_readmes():
    assert f"{INSTALL} && {EXTRACT}geometry\n" in (ROOT / "README.md").read_text()


def test_the_stored_figures_add_up():
    assert abs(sum(PREDECESSOR.values()) - 2 * PREDECESSOR["in all"]) < 10


def test_the_table_has_shares_and_the_sum():
    heading, rendering, training, whole = table(STAGES, {"training": 602, "in all": 760})
    assert rendering.split() == ["rendering", "30.0", "33.3%", "40.0", "1.33", "12", "1"]
    assert training.split() == ["training", "60.0", "66.7%", "100.0", "1.67", "2", "3", "602", "s"]
    assert whole.split() == ["in", "all", "90.0", "100.0%", "140.0", "1.56", "14", "4", "760", "s"]
    assert "predecessor" in heading and "predecessor" not in next(table(STAGES, {}))


@pytest.fixture
def ran(monkeypatch):
    """The commands that would be run, and where: each leaves results as extract does, after half a minute of start."""
    commands = []

    def pretend(command, folder, environment):
        commands.append((command, folder, environment))
        if command == INSTALL:
            return Finished(50.0, 30.0)
        attribute = command.split("=")[1].split()[0]
        for path, text in {
            f"data/{attribute}_x/dataset_00/contact_sheet.png": "",
            "extract/latest/summary.json": json.dumps({"stages": [vars(stage) for stage in STAGES]}),
        }.items():
            (folder / "runs" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "runs" / path).write_text(text)
        return Finished(120.0, 150.0)

    monkeypatch.setattr(first_command, "run", pretend)
    monkeypatch.setattr(first_command, "_environment", lambda folder, environment: {"VIRTUAL_ENV": str(folder)})
    monkeypatch.setattr(first_command.machine, "matmul_gflops", lambda: 100.0)
    return commands


def test_everything_is_done_in_an_empty_place(ran):
    said = "\n".join(report("texture", install=True))
    assert [command for command, *_ in ran] == [INSTALL, f"{EXTRACT}geometry", f"{EXTRACT}texture"]
    (_, folder, environment), *others = ran
    place = folder.parent
    assert all(each[1] == folder and each[2] == environment for each in others) and not place.exists()
    assert environment["VIRTUAL_ENV"] == str(place / "environment") and "PYTHONPATH" not in environment
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR"):
        assert Path(environment[name]).parent == place
    first, second = said.split("\ntexture, caches warm\n")
    assert "  installation" in first and "  start and end        30.0" in first and "760 s" in first
    assert "  installation" not in second and "760 s" not in second


def test_without_the_installation_this_python_runs(ran):
    said = "\n".join(report(None, install=False, options=("--k=2",)))
    ((command, _, environment),) = ran
    assert command == f"{EXTRACT}geometry --k=2" and environment["PYTHONPATH"] == str(ROOT)
    assert "installation" not in said and "predecessor" not in said


def test_a_checkout_is_copied_as_it_is(tmp_path):
    copy = first_command._copy_of_checkout(tmp_path)
    assert (copy / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()
    assert (copy / "experiments" / "extract.py").is_file() and not (copy / ".git").exists()


def test_a_command_that_fails_is_named(tmp_path, capfd):
    with pytest.raises(InputError, match="exit 3 ends with status 3"):
        run("exit 3", tmp_path, {})
    done = run("python3 -c 'sum(range(10**7))'", tmp_path, {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    assert done.seconds > 0 and done.cpu_seconds > 0 and "$ exit 3" in capfd.readouterr().err
