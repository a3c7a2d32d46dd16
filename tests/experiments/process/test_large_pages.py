"""A command starts again once, as it was called, and leaves the user's own setting alone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from experiments.process.large_pages import VARIABLE

CODE = """
import os, sys
print("started")
from experiments.process.large_pages import restart_with_large_pages
restart_with_large_pages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")


def run(**environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-c", CODE, "a b", "--flag=1"]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_restarts_once_with_the_same_arguments():
    assert run() == ["started", "started", "['a b', '--flag=1'] glibc.malloc.hugetlb=1"]


def test_a_setting_of_the_user_stays():
    assert run(**{VARIABLE: "glibc.malloc.mmap_max=0"}) == ["started", "['a b', '--flag=1'] glibc.malloc.mmap_max=0"]
