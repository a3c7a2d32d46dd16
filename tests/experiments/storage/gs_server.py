"""Google's storage, as far as gcsfs asks for it, in a thread of this process; its answers can be spoiled.

Requests and answers are those of the JSON interface of Google's storage (``storage/v1``): objects are written in one request
or, large ones, in parts of a session, on condition that there is none (``ifGenerationMatch=0``), read, listed and deleted. The
emulators on PyPI do not know that condition.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

from tests.experiments.storage.server_thread import ServerThread

NAMES = itertools.count()


class GoogleServer(ServerThread):
    """``fault`` is asked for each request (method, path) as :class:`tests.experiments.storage.s3_server.S3Server`'s."""

    def __init__(self):
        import gcsfs  # takes a second, which tests that need no server are spared

        gcsfs.GCSFileSystem.clear_instance_cache()  # one that a test of this process made knows another server
        self.buckets, self.sessions, self.lock = {}, {}, threading.Lock()
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self})))

    @contextlib.contextmanager
    def reached(self):
        """The environment in which commands find this server."""
        with mock.patch.dict("os.environ", STORAGE_EMULATOR_HOST=self.address):
            yield

    def bucket(self):
        """The address of a folder in a new bucket."""
        name = f"bucket-{next(NAMES)}"
        self.buckets[name] = {}
        return f"gs://{name}/runs"

    def insert(self, bucket, name, content, only_new):
        """(status, what is answered)."""
        with self.lock:
            if bucket not in self.buckets:
                return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
            if only_new and name in self.buckets[bucket]:
                return 412, {"error": {"code": 412, "message": "At least one of the pre-conditions did not hold."}}
            self.buckets[bucket][name] = content, datetime.now(UTC)
            return 200, self.described(bucket, name)

    def described(self, bucket, name):
        content, written = self.buckets[bucket][name]
        when = written.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(content)), "updated": when,
            "timeCreated": when, "generation": "1",
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: GoogleServer

    def log_message(self, format, *args):
        pass

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError):  # the client went away
            super().handle_one_request()

    def _answer(self):
        store, parts = self.store, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, asked = parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}
        store.requests.append((self.command, unquote(path)))
        what = store.fault(self.command, unquote(path) + "?" + unquote(parts.query) + "&" + _name(body))
        if what == "reset":
            self.close_connection = True
            return
        if what in ("401", "403", "503", "507"):
            self._send(int(what), {"error": {"code": int(what), "message": "spoiled"}})
            return
        found = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)(?:/o(?:/([^/]+))?)?", path)
        kind, bucket, name = found.groups() if found else (None, "", None)
        result = self._result(kind, bucket, name and unquote(name), asked, body)
        if what == "lost":
            self.close_connection = True
            return
        self._send(*result, half=what == "truncated")

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _result(self, kind, bucket, name, asked, body):
        store = self.store
        only_new = asked.get("ifGenerationMatch") == "0"
        if kind == "/upload" and asked["uploadType"] == "multipart":
            described, content = _parts(body)
            return store.insert(bucket, described["name"], content, only_new)
        if kind == "/upload" and self.command == "POST":
            session = f"{len(store.sessions)}-of-this-server"
            store.sessions[session] = [asked["name"], only_new, b""]
            place = f"{store.address}{urlsplit(self.path).path}?uploadType=resumable&upload_id={session}"
            return 200, {}, {"Location": place}
        if kind == "/upload":
            return self._more(bucket, store.sessions[asked["upload_id"]], body)
        with store.lock:
            objects = store.buckets.get(bucket)
            if objects is None or (name is not None and name not in objects):
                return 404, {"error": {"code": 404, "message": "Not Found"}}
            if self.command == "DELETE":
                del objects[name]
                return 204, b""
            if name is not None:
                return 200, objects[name][0] if asked.get("alt") == "media" or kind else store.described(bucket, name)
            if not urlsplit(self.path).path.endswith("/o"):
                return 200, {"kind": "storage#bucket", "name": bucket}
            return 200, _listed(store, bucket, asked.get("prefix", ""), asked.get("delimiter"))

    def _more(self, bucket, session, body):
        name, only_new, before = session
        session[2] = content = before + body
        whole = int(self.headers["Content-Range"].rpartition("/")[2])
        if len(content) < whole:
            return 308, b"", {"Range": f"bytes=0-{len(content) - 1}"}
        return self.store.insert(bucket, name, content, only_new)

    def _send(self, status, answer, headers=None, half=False):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        )
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = half


def _listed(store, bucket, prefix, delimiter):
    items, folders = [], set()
    for name in sorted(store.buckets[bucket]):
        if name.startswith(prefix):
            first, more, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if more:
                folders.add(prefix + first + delimiter)
            else:
                items.append(store.described(bucket, name))
    return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}


def _parts(body):
    """Description and content of an object that comes in one request; lines end there as gcsfs ends them."""
    boundary, _, rest = body.partition(b"\n")
    described, content = rest.removesuffix(b"\n" + boundary + b"--").split(b"\n" + boundary + b"\n", 1)
    headers, _, described = described.partition(b"\n\n")
    assert BytesParser().parsebytes(headers).get_content_type() == "application/json"
    return json.loads(described), content.partition(b"\n\n")[2]


def _name(body):
    """Of the object that a request is about, where it says so in its body only."""
    return str(_parts(body)[0]["name"]) if body.startswith(b"--==0==\n") else ""
