"""Stages: what they took is on record, and what is left follows from what was measured."""

import time

import pytest

from experiments.process.reporting import SILENT, Reporter
from experiments.process.stages import Stage, Stages

AHEAD = [Stage("render", 10, 2.0), Stage("compile", 1, 5.0), Stage("train", 100, 3.0)]


def test_before_anything_is_measured_the_expectation_counts():
    stages = Stages(AHEAD, afterwards=7)
    with stages.measured("render"):
        assert stages.left(10, None) == 20 + 5 + 300 + 7
        assert stages.left(4, None) == 8 + 5 + 300 + 7


def test_a_slow_stage_makes_later_ones_slow_until_they_are_measured():
    stages = Stages(AHEAD, afterwards=7)
    with stages.measured("render"):
        assert stages.left(5, 4.0) == 2 * (10 + 5 + 300 + 7)
    with stages.measured("train"):  # what was to be compiled was found
        assert stages.left(100, None) == 2 * (300 + 7)
        assert stages.left(50, 1.5) == pytest.approx(50 * 1.5 + 3.5)
    assert [each.name for each in stages.times] == ["render", "train"]


def test_a_stage_of_another_kind_than_expected_says_little_of_the_later_ones():
    stages = Stages(AHEAD, afterwards=7)
    with stages.measured("render"):
        assert stages.left(5, 2000.0) == 5 * 2000 + 5 * (5 + 300 + 7)
        assert stages.left(5, 0.002) == pytest.approx(5 * 0.002 + (5 + 300 + 7) / 5)


def test_times_are_of_the_wall_and_of_the_processor():
    stages = Stages(AHEAD)
    with stages.measured("render"):
        time.sleep(0.2)
    with stages.measured("compile"):
        start = time.process_time()
        while time.process_time() < start + 0.2:
            pass
    idle, busy = stages.times
    assert 0.2 <= idle.seconds < 2 and idle.cpu_seconds < 0.15 and busy.cpu_seconds >= 0.15


def test_a_bar_tells_what_is_left_of_all_stages(capsys):
    reporter = Reporter(bars=True, delay=0).before(3600).planned(AHEAD)
    with reporter.stage("train"), reporter.progress(100, "step") as bar:
        bar.update(0)
    assert "0/100" in (shown := capsys.readouterr().err) and "1:05:00 until the end" in shown
    assert [each.name for each in reporter.times] == ["train"]


def test_without_a_plan_nothing_is_recorded():
    with SILENT.stage("anything"):
        pass
    assert SILENT.times == [] and SILENT.planned(AHEAD).times == []
