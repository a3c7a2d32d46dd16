"""A cluster that is not there is one line within seconds, also where something else listens."""

import importlib.util
import os
import socket
import threading
import time

import pytest

from experiments.cluster import connection, versions
from experiments.cluster.connection import connect
from experiments.cluster.settings import Ray
from subspace.errors import InputError
from tests.experiments.commands import call


def test_ray_that_is_not_installed_is_one_line(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    done = call("experiments.generate", "--executor=ray", f"--output={tmp_path / 'out'}")
    assert (done.status, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1
    assert "pip install" in done.stderr and not list(tmp_path.glob("out/*"))


@pytest.fixture
def nobody():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=[b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "a_web_server"])
def stranger(request):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            guest, _ = server.accept()
            guest.sendall(request.param)
            guest.recv(1)
            time.sleep(0.5)
            guest.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_without_a_cluster_is_refused_in_seconds(nobody, stranger, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(connection, "_PATIENCE_S", 0.3)
    for address in (nobody, stranger):
        start = time.monotonic()
        with pytest.raises(InputError, match=address) as error:
            connect(Ray(address))
        assert error.value.argument == "executor" and time.monotonic() - start < 5


def test_a_machine_too_busy_to_start_ray_is_told(monkeypatch):
    ray = pytest.importorskip("ray")

    def slow(**_):
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr(ray, "init", slow)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match=r"Ray at this machine: The current node timed out during startup\. This"):
        connect(Ray())


def test_another_version_is_told_with_both():
    ours = {"attribute-subspaces": "0.2.0 (1a2b3c4d)", "Python": "3.11.7"}
    assert versions.difference(ours, dict(ours), "node1") is None
    told = versions.difference(ours, {**ours, "Python": "3.12.1"}, "node1")
    assert told is not None and all(part in told for part in ("node1", "3.11.7", "3.12.1"))
    assert versions.difference(ours, {}, "node1") is not None
    versions.check(versions.here())
    with pytest.raises(InputError, match=r"9\.9"):
        versions.check({**versions.here(), "numpy": "9.9"})


def test_a_wrong_token_is_told_at_once(monkeypatch, capfd):
    raylet = pytest.importorskip("ray._raylet")
    from ray.exceptions import AuthenticationError, RpcError

    answers = [AuthenticationError("no"), RpcError("busy", 14)]

    def client(address):
        os.write(2, b"as Ray's C++ prints\n")
        raise answers.pop(0)

    monkeypatch.setattr(raylet, "GcsClient", client)
    with pytest.raises(InputError, match=r"node0:6379.*RAY_AUTH_TOKEN"):
        connection._check_token("node0:6379")
    connection._check_token("node0:6379")  # ray.init says what it is
    assert capfd.readouterr().err == "" and not answers
    os.write(2, b"there again\n")
    assert capfd.readouterr().err == "there again\n"
