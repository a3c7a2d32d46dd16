"""Objects of a bucket, or files of a folder, by their names: put whole, read whole, listed.

The library ``fsspec`` does it, for S3 with ``s3fs`` and for Google's storage with ``gcsfs``; requests that fail are repeated
there. This says what went wrong, in one line that names the place.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from subspace.errors import InputError
from vggt_jax import atomic
from vggt_jax.disk_space import DiskFullError
from vggt_jax.missing import nearest

NEEDS: Mapping[str, tuple[str, str]] = {
    "s3": ("s3fs", "pip install 'attribute-subspaces[store]'"),
    "gs": ("gcsfs", "pip install gcsfs"),
    "file": ("fsspec", "pip install 'attribute-subspaces[store]'"),
}
"""Scheme of an address → the module that speaks it, and how to install that."""
ATTEMPTS = 4
"""That botocore makes of a request, with longer and longer pauses (its ``standard`` mode)."""
_CONNECTED_S, _SILENT_S, _WHOLE_S = 10, 60, 3600
"""Seconds within which a store takes a connection, sends something, and with Google's storage, answers a request as a whole."""
_KINDS_OF_BUCKETS = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
"""Variable of the environment: whether gcsfs asks, and warns of, what kind of bucket it has before each request."""
_FULL = ("507", "QuotaExceeded", "StorageFull", "InsufficientStorage", "AdminBucketQuotaExceeded")
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "InvalidToken", "401", "403")
_FORBIDDEN = "Forbidden: "
"""What gcsfs's error for the status 403 begins with, which has no code."""


def is_address(place: str) -> bool:
    """Whether a text is the address of a store, ``SCHEME://…``, and no path."""
    return "://" in place


class Objects:
    """What lies below an address.

    Args:
        address: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER`` or ``file:///FOLDER``. Credentials, regions and end points are
            those of the environment and of the clouds' own files (``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, …).

    Raises:
        InputError: an unknown scheme, a package that is not installed, no bucket.
    """

    def __init__(self, address: str):
        scheme, _, rest = address.partition("://")
        if scheme not in NEEDS:
            known = ", ".join(f"{name}://" for name in NEEDS)
            raise InputError(f"{address}: nothing is known of {scheme}://, only of {known}{nearest(scheme, NEEDS)}")
        module, installation = NEEDS[scheme]
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{address} needs the package {module}: {installation}")
        root = os.path.abspath(rest) if scheme == "file" else rest.strip("/")
        if not root or (scheme == "file" and not rest.startswith("/")):
            wanted = "file:///FOLDER" if scheme == "file" else f"{scheme}://BUCKET/FOLDER"
            raise InputError(f"{address} names no place; write {wanted}")
        self.address = f"{scheme}://{root}"
        self._root, self._is_folder, self._scheme = root, scheme == "file", scheme
        os.environ.setdefault(_KINDS_OF_BUCKETS, "false")
        import fsspec

        options = {"s3": _of_s3, "gs": _of_gs, "file": dict}[scheme]()
        self._system = fsspec.filesystem(scheme, use_listings_cache=False, **options)
        if scheme == "s3":
            self._system.retries = 2  # of s3fs itself, on top of those of botocore

    def check(self) -> None:
        """Raises InputError or OSError unless the store can be read."""
        if self._is_folder:
            atomic.check_writable(Path(self._root) / "objects")
            return
        with self._told(""):
            bucket = self._root.partition("/")[0]
            try:
                self._system.ls(self._root)
            except FileNotFoundError:  # nothing there yet
                if not self._system.exists(bucket):
                    raise InputError(f"{self.address}: there is no bucket {bucket!r}") from None

    def put(self, name: str, content: bytes) -> None:
        """Write an object, in place of an older one; it appears whole. Raises OSError if that fails."""
        with self._told(name):
            if self._is_folder:
                atomic.write_bytes(Path(self._place(name)), content, durable=True)
            else:
                self._system.pipe_file(self._place(name), content)

    def put_file(self, name: str, file: Path) -> None:
        """Write an object from a file."""
        with self._told(name):
            if self._is_folder:
                with atomic.new_path(Path(self._place(name))) as new:
                    self._system.put_file(str(file), str(new))
                    atomic.sync(new)
            else:
                self._system.put_file(str(file), self._place(name))

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one of that name, which is False then."""
        with self._told(name):
            if self._is_folder:
                return atomic.create(Path(self._place(name)), content)
            try:
                self._system.pipe_file(self._place(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in _code(error) or "ConditionalRequestConflict" in _code(error):
                    return False
                raise
            return True

    def read(self, name: str) -> bytes | None:
        """An object; None where there is none."""
        with self._told(name):
            try:
                return self._system.cat_file(self._place(name))
            except FileNotFoundError:
                return None

    def read_file(self, name: str, file: Path) -> None:
        """Write an object to a file; raises FileNotFoundError where there is none."""
        with self._told(name):
            self._system.get_file(self._place(name), str(file))

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        with self._told(name):
            try:
                return int(self._system.info(self._place(name))["size"])
            except FileNotFoundError:
                return None

    def names(self, below: str) -> list[str]:
        """Of all objects in a folder of the store, at any depth."""
        with self._told(below):
            try:
                found = self._system.find(self._place(below))
            except FileNotFoundError:
                return []
            return sorted(str(path).removeprefix(f"{self._root}/") for path in found if not _is_hidden(path))

    def sizes(self, below: str) -> dict[str, int]:
        """Name → bytes of all objects in a folder of the store, at any depth."""
        with self._told(below):
            try:
                found = self._system.find(self._place(below), detail=True)
            except FileNotFoundError:
                return {}
            root = f"{self._root}/"
            return {str(path).removeprefix(root): int(found[path]["size"]) for path in found if not _is_hidden(path)}

    def age(self, name: str) -> float:
        """Seconds since an object was written, by the clocks of the store and of this machine."""
        with self._told(name):
            when = self._system.modified(self._place(name))
            return (datetime.now(UTC) - (when if when.tzinfo else when.replace(tzinfo=UTC))).total_seconds()

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        with self._told(name):
            try:
                self._system.rm_file(self._place(name))
            except FileNotFoundError:
                return

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """What libraries raise within, as an error that names the place."""
        place = f"{self.address}/{name}".rstrip("/")
        try:
            yield
        except (InputError, MemoryError):
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in _code(error):
                bucket = self._root.partition("/")[0]
                raise InputError(f"{self.address}: there is no bucket {bucket!r}") from error
            raise FileNotFoundError(errno.ENOENT, "is not there", place) from error
        except Exception as error:  # of fsspec, botocore, aiohttp and google.auth
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of a file here
            raise _as_told(error, place) from error


def _of_s3() -> dict[str, Any]:
    """Options of s3fs."""
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    limits = {"connect_timeout": _CONNECTED_S, "read_timeout": _SILENT_S, "connector_args": {"socket_factory": _socket}}
    return {"config_kwargs": {"retries": retries, **limits}, "session": _session()}


def _session() -> Any:
    """Of S3's clients, whose uploads do not ask first whether they may: aiohttp waits for that answer without any limit."""
    from aiobotocore.session import AioSession

    def ask_nothing(request: Any, **_: object) -> None:
        request.headers.pop("Expect", None)  # the signature does not cover it

    session = AioSession()
    session.register("before-send.s3", ask_nothing)
    return session


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """One that ends if nothing of what it sends is taken for a minute, for which aiohttp has no limit."""
    made = socket.socket(*address[:3])
    made.setblocking(False)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # of Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_S * 1000)
    return made


def _of_gs() -> dict[str, Any]:
    """Options of gcsfs, which has no limit of its own."""
    import aiohttp

    if not os.environ.get("GCSFS_DEBUG"):
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises as well, with its traceback
    return {"requests_timeout": aiohttp.ClientTimeout(total=_WHOLE_S, sock_connect=_CONNECTED_S, sock_read=_SILENT_S)}


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


def _code(error: BaseException | None) -> str:
    """Code and status of the answer that an error comes from, as far as there was one."""
    found = []
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, Mapping):
            found.append(str(response.get("Error", {}).get("Code", "")))
            found.append(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")))
        found.append(str(getattr(error, "code", "")))  # of gcsfs
        error = error.__cause__
    return " ".join(found)


def _as_told(error: Exception, place: str) -> OSError:
    code, kind = _code(error), type(error).__name__
    reason = " ".join(str(error).split()) or kind
    if any(mark in code for mark in _FULL):
        return DiskFullError(place, words=f"the store is full, or its quota is used up ({reason})")
    refused = any(mark in code.split() for mark in _REFUSED) or reason.startswith(_FORBIDDEN)
    if isinstance(error, PermissionError) or refused:
        return PermissionError(errno.EACCES, f"the store refuses these credentials ({reason})", place)
    if "Credentials" in kind:
        return PermissionError(errno.EACCES, f"no credentials were found ({reason})", place)
    return OSError(errno.ECONNABORTED, f"the store does not answer as it should ({reason})", place)
