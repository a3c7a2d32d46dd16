"""Files and folders that appear under their names only once they are complete.

What is being written lies in a hidden folder ``.NAME.*.partial`` beside its final place, locked by the process that writes it.
An error removes that folder; what a killed process left is removed by the next one that writes the same name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from subspace.errors import InputError
from vggt_jax.disk_space import TAKE_ANOTHER, DiskFullError, named_if_full

_PARTIAL = ".partial"
_OLD = ".replaced"
"""Where, in the hidden folder, that lies which is being replaced."""


_RANDOM = re.compile(r"[a-z0-9_]{8}")
"""Between the name and the end of a hidden folder's or file's name."""
_AT_ONCE = 16
"""Files that are on their way to the disk together, which then writes its journal once for several."""


def _anything_goes(_: Path) -> None:
    pass


@contextmanager
def new_path(
    target: Path,
    *,
    check: Callable[[Path], None] = _anything_goes,
    size: int = 0,
    alone: bool = False,
    follow: bool = True,
) -> Iterator[Path]:
    """A path to write a file or a folder to, which becomes ``target`` at the end, in place of what is there.

    Missing parents are made.

    Args:
        target: the file or folder to be.
        check: is called with the path to write, without links, first of all and again at the end; raises if what is there
            may not be replaced.
        size: bytes that will be written, as far as that is known.
        alone: refuse to begin while another process writes ``target``. Otherwise each writes its own, and the last one stays.
        follow: where ``target`` is a symbolic link, write what it leads to and leave the link as it is.

    Raises:
        FileExistsError: another process is writing ``target``, and ``alone``.
        InputError: ``target`` is a mount point, which cannot be replaced.
        OSError: the folder cannot be written, or its disk has less than ``size`` bytes left.
    """
    target = Path(os.path.realpath(target) if follow else os.path.abspath(target))
    check(target)
    if target.is_dir() and os.path.ismount(target):
        raise InputError(f"{target} is where a disk is mounted and cannot be replaced; name a folder in it")
    with named_if_full(target), hidden_folder(target, alone=alone) as hidden:
        if size and (free := shutil.disk_usage(hidden).free) < size:
            left = f"needs {size / 2**20:,.0f} MiB, the disk has {free / 2**20:,.0f} MiB left"
            raise DiskFullError(target, words=left)
        new = hidden / target.name
        yield new
        check(target)  # it may have changed meanwhile
        _rename(new, target, hidden / _OLD)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder that becomes ``target`` at the end, in place of whatever is there; see :func:`new_path`."""
    with new_path(target) as new:
        new.mkdir()
        yield new


def write_bytes(target: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file, in place of an older one.

    Args:
        target: the file; its folder is made if it is missing.
        content: all of it.
        durable: wait until it is on the disk, so that the file is whole even after a power cut.
    """
    target = Path(os.path.realpath(target))
    with _hidden_file(target, content, durable=durable) as hidden:
        hidden.replace(target)


def create(target: Path, content: bytes) -> bool:
    """Write a file unless there is one, which is False then; of several processes at a time one succeeds.

    The file appears whole, but on disks without hard links, where it may be seen empty while it is written.

    Raises OSError if it cannot be written, and leaves nothing then.
    """
    with _hidden_file(target, content) as hidden:
        try:
            os.link(hidden, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            return _created(target, content)
    return True


def _created(target: Path, content: bytes) -> bool:
    """The same without a hard link."""
    try:
        file = target.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return True


@contextmanager
def _hidden_file(target: Path, content: bytes | memoryview, *, durable: bool = False) -> Iterator[Path]:
    """A file beside ``target`` with all of ``content``, gone at the end unless it was renamed.

    Not in a folder of its own, which would take longer than a small file.
    """
    _make_parent(target)
    with named_if_full(target):
        hidden, descriptor = _locked_file(target)
        try:
            _clear(target, hidden)
            hidden.write_bytes(content)
            if durable:
                os.fsync(descriptor)
            yield hidden
        finally:
            hidden.unlink(missing_ok=True)
            os.close(descriptor)


def sync(folder: Path, names: Iterable[str] = ("",)) -> None:
    """Wait until files are on the disk, so that what says that they are complete can be written.

    Args:
        folder: where they lie.
        names: files, and folders with everything below them; by default the folder itself.
    """
    paths = [folder / name for name in names]
    paths += [path for parent in paths if parent.is_dir() for path in parent.rglob("*") if not path.is_symlink()]
    with named_if_full(folder), ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what some disks say of folders
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def write_new(target: Path, content: bytes | Mapping[str, bytes]) -> None:
    """Write a new file, or a new folder of files (name → content); all of it is on the disk when it gets its name.

    Raises FileExistsError if something is there or another process is writing it, and OSError if it cannot be written.
    """
    files = {"": content} if isinstance(content, bytes) else content
    with new_path(target, check=check_absent, size=sum(map(len, files.values())), alone=True) as new:
        if not isinstance(content, bytes):
            new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
        sync(new)


def remove(path: Path) -> None:
    """Delete a folder so that an interruption leaves nothing at ``path`` that looks complete."""
    with named_if_full(path), hidden_folder(path) as hidden:
        path.rename(hidden / path.name)


def remove_partial(folder: Path) -> None:
    """Delete what killed processes left in ``folder``, if that exists; what others are writing there stays."""
    for left in os.listdir(folder) if folder.is_dir() else []:
        if (name := _name(left)) is not None:
            _is_alive(folder / left, folder / name)


def check_absent(target: Path) -> None:
    """Raises FileExistsError where something other than an empty folder is in the way."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(errno.EEXIST, "exists already; remove it or choose another name", str(target))


def check_writable(target: Path) -> None:
    """Raises the OSError with which :func:`new_path` would begin because of the folder that ``target`` should lie in.

    It makes and removes an empty folder there: what permissions say, some file systems do not do.
    """
    parent = next(folder for folder in Path(os.path.abspath(target)).parents if folder.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_PARTIAL, dir=parent))
    except OSError as error:
        raise _not_writable(error.errno or errno.EACCES, parent) from None


@contextmanager
def hidden_folder(target: Path, *, alone: bool = False) -> Iterator[Path]:
    """A locked empty folder beside ``target``, which is removed at the end; what dead processes left there is cleared away.

    Raises FileExistsError if another process has one of that name, and ``alone``.
    """
    _make_parent(target)
    hidden, descriptor = _locked_folder(target)
    try:
        if _clear(target, hidden) and alone:
            raise FileExistsError(errno.EEXIST, "another process is writing it", str(target))
        yield hidden
    finally:
        os.close(descriptor)  # first, as closing what is removed takes the system milliseconds
        try:
            hidden.rmdir()  # it is empty if all went well and no folder was replaced
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _not_writable(error.errno or errno.EACCES, target.parent) from error


def _not_writable(code: int, folder: Path) -> OSError:
    words = f"nothing can be written here: {os.strerror(code)}; {TAKE_ANOTHER}"
    return OSError(code, words, str(folder))


def _clear(target: Path, own: Path) -> bool:
    """Remove what dead processes left of ``target``; whether a living one is writing it, besides this one to ``own``."""
    beside = [name for name in os.listdir(target.parent) if name.startswith(f".{target.name}.") and name != own.name]
    return any([_is_alive(target.parent / name, target) for name in beside if _name(name) == target.name])


def _locked_file(target: Path) -> tuple[Path, int]:
    while True:
        hidden = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PARTIAL}")
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor) is not False and hidden.exists():  # else another process took it for a dead one's
            return hidden, descriptor
        os.close(descriptor)


def _locked_folder(target: Path) -> tuple[Path, int]:
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_PARTIAL, dir=target.parent))
        with suppress(FileNotFoundError):  # another process may take it for a dead one's until it is locked
            descriptor = os.open(hidden, os.O_RDONLY)
            if _lock(descriptor) is not False and hidden.exists():
                return hidden, descriptor
            os.close(descriptor)


def _is_alive(hidden: Path, target: Path) -> bool:
    """Whether a process is writing to ``hidden``. If not, it is removed, and what it was replacing returns to ``target``."""
    try:
        descriptor = os.open(hidden, os.O_RDONLY)
    except FileNotFoundError:  # it has just ended
        return False
    try:
        free = _lock(descriptor)
        if free:
            if (hidden / _OLD).exists() and not target.exists():  # it died between two renamings
                (hidden / _OLD).rename(target)
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink(missing_ok=True)
        return free is False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether it was free and is locked now; None on disks that know no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _name(hidden: str) -> str | None:
    """What is being written in the hidden folder of that name; None for other files."""
    if not hidden.startswith(".") or not hidden.endswith(_PARTIAL):
        return None
    name, _, end = hidden[1 : -len(_PARTIAL)].rpartition(".")
    return name if name and _RANDOM.fullmatch(end) else None


def _rename(new: Path, target: Path, old: Path) -> None:
    if not target.is_dir() or target.is_symlink():  # a file is replaced in one step
        if new.is_dir() and target.exists():
            target.unlink()
        new.replace(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
