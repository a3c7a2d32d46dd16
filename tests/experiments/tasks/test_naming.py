"""Where the views of a task's scenes stand."""

import numpy as np
import pytest

from experiments.data.manifest import TaskSettings
from experiments.tasks.naming import azimuths


@pytest.mark.parametrize(("turn", "step"), [(360.0, 45.0), (90.0, 11.25)])
def test_views_go_round_in_even_steps_in_either_direction(turn, step):
    settings = TaskSettings(task="humans", split="train", seed=0, samples=1, views=8, resolution=64, turn=turn)
    found = np.degrees([azimuths(np.random.default_rng(seed), settings) for seed in range(40)])
    steps = np.diff(found, axis=1)
    np.testing.assert_allclose(np.abs(steps), step)
    assert {-1, 1} == set(np.sign(steps[:, 0]))
    starts = found[:, 0]
    assert starts.min() >= 0 and starts.max() < 360 and np.ptp(starts) > 300
