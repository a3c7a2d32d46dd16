"""A disk that fails from the nth change below a folder on, or a process that dies at it: in Python, without a real disk.

Counted are files that are opened to be written, parts that are written, folders that are made, renamings, links, and what waits
for the disk. What libraries write themselves (tensorstore, safetensors) is not seen; limits of the system take their part.
"""

import builtins
import io
import os
import signal
import sys
from pathlib import Path

_OF_PATHS = {"os.mkdir": 0, "os.rename": 1, "os.symlink": 1, "os.link": 1}
"""Audit event → the place of the path that is changed."""


class Faults:
    """Of one process, in which :meth:`install` is called once, before anything is written."""

    def __init__(self, folder: Path, at: int | None, code: int | None = None):
        """``code`` is the error of all changes from number ``at`` on, from 1; None kills the process at that one."""
        self.folder, self.at, self.code = os.path.realpath(folder), at, code
        self.count = 0
        self._inside = False

    def install(self) -> None:
        sys.addaudithook(self._hear)
        self._real_open = builtins.open
        builtins.open = io.open = self._open  # pyright: ignore[reportAttributeAccessIssue]
        for name in ("write", "fsync"):
            setattr(os, name, self._counted(getattr(os, name)))

    def _hear(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._change(path)
        elif event in _OF_PATHS:
            self._change(arguments[_OF_PATHS[event]])

    def _change(self, path: object, *, named: bool = True) -> None:
        if self._inside or not isinstance(path, str | bytes | os.PathLike):
            return
        self._inside = True
        try:
            place = os.path.abspath(os.fsdecode(path))
            below = place == self.folder or place.startswith(self.folder + os.sep)
        finally:
            self._inside = False
        if not below:
            return
        self.count += 1
        if self.at is None or self.count < self.at:
            return
        if self.code is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif named:
            raise OSError(self.code, os.strerror(self.code or 0), os.fsdecode(path))
        else:
            raise OSError(self.code, os.strerror(self.code or 0))

    def _counted(self, real):
        def call(descriptor, *rest):
            try:
                path = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                path = ""
            self._change(path, named=False)
            return real(descriptor, *rest)

        return call

    def _open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set("wax+") or isinstance(file, int):
            return self._real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.faults = self
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)


class _Raw(io.FileIO):
    faults: Faults

    def write(self, content, /):
        self.faults._change(self.name, named=False)
        return super().write(content)
