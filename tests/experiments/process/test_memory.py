import subprocess
import sys

import numpy as np

from experiments.process.memory import most_resident


def test_what_this_process_held_counts_and_what_its_parent_held_does_not():
    held = np.ones(60_000_000)  # 480 MB
    assert most_resident() > held.nbytes
    code = "from experiments.process.memory import most_resident; print(most_resident())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e6 < int(child.stdout) < held.nbytes
