"""Pipelines are silent but for the logger; commands show lines and bars on stderr."""

import logging
import time

import pytest

from experiments.process.reporting import LOGGER, SILENT, Reporter, console


@pytest.fixture(autouse=True)
def unchanged():
    """The logger as other tests expect it."""
    before = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = before


def work(reporter: Reporter) -> None:
    reporter.info("begun: 100 %s")
    reporter.warning("look at this")
    with reporter.progress(2, "scene", "rendering") as bar:
        bar.delay = 0
        time.sleep(0.2)
        bar.update(2)


def test_a_pipeline_only_logs(capsys, caplog):
    with caplog.at_level(logging.INFO, LOGGER.name):
        work(SILENT)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "begun: 100 %s"),
        ("WARNING", "look at this"),
    ]
    assert capsys.readouterr() == ("", "")


def test_a_command_shows_lines_once_and_bars(capsys):
    console()
    work(console())
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("begun: 100 %s\n") == printed.err.count("look at this\n") == 1
    assert "rendering" in printed.err and "2/2" in printed.err


def test_bars_can_be_switched_off(capsys):
    work(Reporter(bars=False))
    assert "rendering" not in capsys.readouterr().err
