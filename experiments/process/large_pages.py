"""Large memory pages for programs that allocate and free gigabytes in every step."""

from __future__ import annotations

import os
import platform
import sys

VARIABLE = "GLIBC_TUNABLES"
"""What glibc reads when a program starts, and not later."""


def restart_with_large_pages() -> None:
    """Start this Python program again, with the same arguments, so that its big arrays lie in large pages.

    XLA returns a step's temporary arrays to the system, which hands them out again page by page, 4 KiB each: half a million
    of them for a step of five nano adapters. With pages of 2 MiB there are a few thousand. Nothing happens where the variable
    is set already, or where there is no glibc.
    """
    if VARIABLE in os.environ or platform.libc_ver()[0] != "glibc":
        return
    os.environ[VARIABLE] = "glibc.malloc.hugetlb=1"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
