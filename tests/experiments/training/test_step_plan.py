import pytest

from experiments.training.step_plan import StepPlan
from subspace.errors import InputError


@pytest.mark.parametrize("name", ["adapters_at_once", "accumulate", "frames_chunk"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        StepPlan(**{name: 0})
