"""Runs a command on one core (or on any), with one thread, for as long as the process that asked for it lives.

``python pinned.py CORE PARENT COMMAND …`` becomes the command. Done in a process of its own, because Python code between
fork and exec is not safe in a program with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TBB_NUM_THREADS")


def main(core: str, parent: str, *command: str) -> None:
    if core != "any" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before the kernel knew whom to watch
            sys.exit(1)
    for name in ("PYTHONPATH", "PYTHONHOME"):  # of the Python that asked, which may not be the command's
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
