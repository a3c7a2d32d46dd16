import subprocess
import sys

import numpy as np
import pytest

from experiments.process.memory import check_training_fits, most_resident
from subspace.errors import InputError


def test_what_this_process_held_counts_and_what_its_parent_held_does_not():
    held = np.ones(60_000_000)  # 480 MB
    assert most_resident() > held.nbytes
    code = "from experiments.process.memory import most_resident; print(most_resident())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e6 < int(child.stdout) < held.nbytes


def test_what_cannot_be_trained_in_the_memory_is_refused():
    check_training_fits(1000, 16_000, "rank")
    check_training_fits(1000, None, "rank")
    with pytest.raises(InputError, match="1,000 trained numbers") as error:
        check_training_fits(1000, 15_999, "rank")
    assert error.value.argument == "rank"
