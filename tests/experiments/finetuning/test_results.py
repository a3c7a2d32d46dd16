"""What a fine-tuning brought, in errors and not in shares of a loss."""

from types import SimpleNamespace

import numpy as np

from experiments.finetuning.results import verdict
from experiments.training.held_out_errors import ABS_REL, ROTATION


def tuned(before, after):
    values = [{name: np.array(each) for name, each in terms.items()} for terms in (before, after)]
    return SimpleNamespace(before=values[0], after=values[1])


def test_errors_are_said_with_their_units_and_no_share_of_the_loss():
    before = {"loss": [2.0, -1.0], ABS_REL: [0.1, 0.2], ROTATION: [30.0, 32.0], "loss_T": [1.0, 1.0]}
    after = {"loss": [1.0, 0.0], ABS_REL: [0.05, 0.15], ROTATION: [10.0, 11.0], "loss_T": [0.5, 0.5]}
    said = verdict(tuned(before, after))  # pyright: ignore[reportArgumentType]
    assert "AbsRel of depth 0.150 → 0.100" in said and "rotation (degrees) 31.0 → 10.5" in said
    assert "lower on 1" in said and "2 validation scenes" in said and "%" not in said


def test_records_of_before_there_were_errors_and_runs_without_validation_are_said_too():
    said = verdict(tuned({"loss": [2.0]}, {"loss": [1.0]}))  # pyright: ignore[reportArgumentType]
    assert "AbsRel" not in said and "lower on 1" in said
    assert "held out" in verdict(tuned({}, {}))  # pyright: ignore[reportArgumentType]


def test_errors_are_of_the_scenes_in_which_they_were_measured():
    before = {"loss": [2.0, 2.0], ABS_REL: [0.1, np.nan], ROTATION: [np.nan, np.nan]}
    after = {"loss": [1.0, 1.0], ABS_REL: [0.05, np.nan], ROTATION: [np.nan, np.nan]}
    said = verdict(tuned(before, after))  # pyright: ignore[reportArgumentType]
    assert "AbsRel of depth 0.100 → 0.050" in said and "rotation" not in said and "lower on 2" in said
