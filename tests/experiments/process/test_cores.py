import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from experiments.process.cores import available_cores

CLAIM = """
import sys
from experiments.process import cores
cores._NAME = sys.argv[1]  # others on this machine may have claimed some
print(cores.claimed_core(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has such names")
def test_processes_claim_cores_of_their_own_until_they_end():
    def claim(stack):
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", CLAIM, f"test of {os.getpid()}"], stdin=-1, stdout=-1, text=True)
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    cores = [*map(str, available_cores())]
    with ExitStack() as stack:
        claimed = [claim(stack) for _ in (*cores, "one more")]
        assert sorted(said for _, said in claimed) == sorted([*cores, "None"])
        process, core = claimed[0]
        process.kill()
        process.wait()
        assert claim(stack)[1] == core
