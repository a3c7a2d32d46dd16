"""A real S3 server in a thread of this process, whose answers can be spoiled."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import urllib.request
from unittest import mock

import boto3
import s3fs

from tests.experiments.storage.server_thread import ServerThread

KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
NAMES = itertools.count()


class S3Server(ServerThread):
    """moto's server behind a layer that spoils answers.

    Objects are written one after another: moto asks whether there is one and writes it in two steps, where S3 has one.

    ``fault`` is asked for each request (method, path) and returns None, or what happens to it: "503", "507", "reset" (the
    connection ends in the middle of the request), "lost" (it ends before the answer to what is done), "truncated" (half of the
    body, the whole length promised).
    """

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, type, message, *args):
                pass

        s3fs.S3FileSystem.clear_instance_cache()  # one that a test of this process made knows another server
        self._app, self._writing = DomainDispatcherApplication(create_backend_app), threading.Lock()
        super().__init__(make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet))

    @contextlib.contextmanager
    def reached(self, **changes):
        """The environment in which commands find this server."""
        with mock.patch.dict("os.environ", {**KEYS, "AWS_ENDPOINT_URL": self.address, **changes}):
            yield

    def bucket(self):
        """The address of a folder in a new bucket."""
        name = f"bucket-{next(NAMES)}"
        boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket=name)
        return f"s3://{name}/runs"

    def check_credentials(self, after):
        """From now on (``after`` more requests) credentials must be those of somebody; infinitely many for never."""
        request = urllib.request.Request(
            f"{self.address}/moto-api/reset-auth", data=str(after).encode(), headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).read()

    def _answer(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        what = self.fault(method, path)
        if what in ("503", "507"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            code = "ServiceUnavailable" if what == "503" else "XMinioStorageFull"
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>spoiled</Message></Error>".encode()
            start(f"{what} spoiled", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if what not in ("reset", "lost", "truncated"):
            return self._done(environ, start)
        if what == "lost":
            b"".join(self._done(environ, lambda *_: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if method != "GET":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        body = b"".join(self._done(environ, start))

        def half():
            yield body[: len(body) // 2]
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

        return half()

    def _done(self, environ, start):
        with self._writing if environ["REQUEST_METHOD"] == "PUT" else contextlib.nullcontext():
            return self._app(environ, start)
