"""A store that machines share: machines are folders of copies, the store is a folder or a server, as S3 or Google has."""

import errno
import fcntl
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from experiments.storage import copies, leases, objects, shared
from experiments.storage.locks import alone
from experiments.storage.results import RECORD, ResultsFolder
from subspace.errors import InputError
from tests.experiments.storage.gs_server import GoogleServer
from tests.experiments.storage.s3_server import KEYS, S3Server
from vggt_jax.disk_space import DiskFullError


@pytest.fixture(scope="module")
def servers():
    """Of S3 and as Google's storage."""
    found = {"s3": S3Server(), "gs": GoogleServer()}
    with found["s3"].reached(), found["gs"].reached():
        yield found
    for server in found.values():
        server.close()


def unspoiled(server):
    server.fault = lambda method, path: None
    return server


@pytest.fixture(params=["s3", "gs"])
def server(request, servers, monkeypatch):
    # where gcsfs waits before it repeats a request
    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=at_once))
    return unspoiled(servers[request.param])


async def at_once(seconds):
    pass


@pytest.fixture
def s3(servers):
    return unspoiled(servers["s3"])


@pytest.fixture(params=["file", *(pytest.param(scheme, marks=pytest.mark.slow) for scheme in ("s3", "gs"))])
def address(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    return unspoiled(request.getfixturevalue("servers")[request.param]).bucket()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def folder(name, address):
        monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / name))
        return shared.opened(address)

    return folder


def written(folder, content):
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


CONTENT = {"scene_0000/image": "pixels", "scene_0001/image": "pixels", "more": "x" * 3000, "manifest.json": "{}"}


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_one_machine_publishes_the_other_fetches(address, machine):
    here = machine("here", address)
    there = machine("there", address)
    assert here != there
    folder = written(here / "data" / "sets", {**CONTENT, ".lock": "mine"})
    assert not shared.fetch(there / "data" / "sets") and not (there / "data").exists()
    shared.publish(folder, "manifest.json")
    assert shared.fetch(there / "data" / "sets")
    assert read(there / "data" / "sets") == CONTENT
    store = shared.store_at(there)
    assert store.names() == ["data/sets"]
    assert len(store.objects.names("objects")) == 3  # equal files are one object


def test_a_second_publication_replaces_the_first_and_is_seen(address, machine):
    here, there = machine("here", address), machine("there", address)
    folder = written(here / "sets", CONTENT)
    shared.publish(folder, "manifest.json")
    shared.fetch(there / "sets")
    written(there / "sets", {"checkpoint": "of there"})
    written(folder, {"scene_0002/image": "new", "manifest.json": "[]"})
    shared.publish(folder, "manifest.json")
    shared.fetch(there / "sets")
    assert read(there / "sets") == {
        **CONTENT, "scene_0002/image": "new", "manifest.json": "[]", "checkpoint": "of there"
    }  # fmt: skip


def test_a_copy_that_lost_a_file_is_made_whole(address, machine):
    here = machine("here", address)
    folder = written(here / "sets", CONTENT)
    shared.publish(folder, "manifest.json")
    (folder / "more").unlink()
    assert shared.fetch(folder)
    assert read(folder) == CONTENT


def test_a_published_folder_is_found_by_its_address(address, machine):
    here = machine("here", address)
    shared.publish(written(here / "extract" / "label-1", CONTENT), "manifest.json")
    there = machine("there", address)
    assert shared.found(f"{address}/extract/label-1") == there / "extract" / "label-1"
    assert shared.found(f"{address}/extract/label-1/more").read_text() == CONTENT["more"]
    with pytest.raises(InputError, match="label-2 is not published") as error:
        shared.found(f"{address}/extract/label-2")
    assert "--" not in str(error.value)


def test_folders_elsewhere_are_left_alone(tmp_path):
    folder = written(tmp_path / "data" / "sets", CONTENT)
    shared.publish(folder, "manifest.json")
    assert not shared.fetch(folder) and shared.address_of(folder) is None
    assert shared.opened(tmp_path) == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.slow
def test_copies_that_were_used_longest_ago_make_room(s3, machine, monkeypatch):
    address = s3.bucket()
    here = machine("here", address)
    for number in range(4):
        shared.publish(written(here / f"set_{number}", {"last": f"{number}" * 1000}), "last")
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE_GB", "2.5e-6")
    there = machine("there", address)
    kept = shared.store_at(there).copies
    for number in (0, 1):
        shared.fetch(there / f"set_{number}")
        time.sleep(0.01)
    let_go()
    shared.fetch(there / "set_0")  # now set_1 is older
    shared.fetch(there / "set_2")
    assert (there / "set_0").exists() and not (there / "set_1").exists() and (there / "set_2").exists()
    shared.fetch(there / "set_3")  # all others are in use, by this process
    assert [kept.read(f"set_{number}") is not None for number in range(4)] == [True, False, True, True]
    assert shared.fetch(there / "set_1")
    with pytest.raises(InputError, match="_GB=much"):
        monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE_GB", "much")
        machine("elsewhere", address)


def let_go():
    """What this process uses is used by nobody any more, as after its end."""
    for descriptor in copies._DESCRIPTORS.values():
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
    copies._IN_USE.clear()


USER = """
import sys
from pathlib import Path
from experiments.storage.copies import Copies

there = Copies(Path(sys.argv[1]), 0)
print(all(there.use(name, there.read(name)) for name in sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@contextmanager
def used_elsewhere(folder, *names):
    """Another process uses copies until the end of the block."""
    command = [sys.executable, "-c", USER, str(folder), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        yield
        process.kill()


def test_a_copy_that_another_process_uses_stays(tmp_path, machine, monkeypatch):
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE_GB", "1e-6")
    here = machine("here", f"file://{tmp_path}/shared")
    for name in "abc":
        shared.publish(written(here / name, {"last": name * 900}), "last")
    let_go()
    with used_elsewhere(here, "a", "c"):
        assert shared.store_at(here).copies.make_room(1000) == ["b"]
        assert shared.store_at(here).copies.make_room(1000) == []
    assert shared.store_at(here).copies.make_room(1000) == ["a", "c"]
    assert not any((here / name).exists() for name in "abc")


def test_a_process_uses_more_copies_than_it_may_open_files(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened, names = len(os.listdir("/dev/fd")), [f"data/dataset_{number:03d}" for number in range(100)]
    there = copies.Copies(tmp_path, 0)
    published = copies.Published(last="last", files={}, host="here", date="today")
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 50, hard))
    try:
        for name in names:
            there.keep(name, published)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/dev/fd")) <= opened + 1
    assert there.make_room(1) == []  # this process uses them
    assert evicted_elsewhere(tmp_path) == []  # and so does another one see it
    let_go()
    assert evicted_elsewhere(tmp_path) == names


EVICTOR = """
import sys
from pathlib import Path
from experiments.storage.copies import Copies

print(*Copies(Path(sys.argv[1]), 0).make_room(1))
"""


def evicted_elsewhere(folder):
    """Names of the copies that another process deletes."""
    command = [sys.executable, "-c", EVICTOR, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_copy_with_something_of_its_own_keeps_that(address, machine):
    here = machine("here", address)
    folder = written(here / "sets", {**CONTENT, ".lock": ""})
    shared.publish(folder, "manifest.json")
    written(folder, {"checkpoints/7": "of mine"})
    let_go()
    assert shared.store_at(here).copies.make_room(10**12) == ["sets"]
    assert read(folder) == {"checkpoints/7": "of mine", ".lock": ""}
    shared.fetch(folder)
    assert read(folder) == {**CONTENT, "checkpoints/7": "of mine", ".lock": ""}


def once(what, methods, part):
    """A fault of the first request of its kind."""
    left = [what]

    def fault(asked, path):
        return left.pop() if left and asked in methods and part in path else None

    return fault


@pytest.mark.slow
@pytest.mark.parametrize("what", ["503", "reset"])
def test_an_upload_that_fails_is_repeated(server, machine, what):
    address = server.bucket()
    here, there = machine("here", address), machine("there", address)
    server.fault = once(what, ("PUT", "POST"), "/objects/")
    shared.publish(written(here / "sets", CONTENT), "manifest.json")
    shared.fetch(there / "sets")
    assert read(there / "sets") == CONTENT


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_nothing_waits_for_ever_for_a_store_that_falls_silent(tmp_path, monkeypatch, scheme):
    """Connections are made, and nobody answers, nor takes more than the system keeps for him."""
    monkeypatch.setattr(objects, "_SILENT_S", 1)
    monkeypatch.setattr(objects, "_WHOLE_S", 5)
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    monkeypatch.setattr("gcsfs.retry.is_retriable", lambda error: False)  # gcsfs lets nobody choose how often
    file = written(tmp_path, {"file": "x" * 30_000_000}) / "file"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address, "STORAGE_EMULATOR_HOST": address}.items():
            monkeypatch.setenv(name, value)
        store = objects.Objects(f"{scheme}://bucket/runs")
        calls = {
            "check": store.check,
            "put": lambda: store.put("a", b"x" * 30_000_000),
            "put_file": lambda: store.put_file("a", file),
            "create": lambda: store.create("a", b"x"),
            "read": lambda: store.read("a"),
            "read_file": lambda: store.read_file("a", tmp_path / "read"),
            "size": lambda: store.size("a"),
            "names": lambda: store.names("a"),
            "age": lambda: store.age("a"),
            "delete": lambda: store.delete("a"),
        }
        with ThreadPoolExecutor(len(calls)) as threads:
            running = {name: threads.submit(call) for name, call in calls.items()}
            for name, call in running.items():
                error = call.exception(timeout=60)
                assert isinstance(error, OSError) and "does not answer" in str(error), name


@pytest.mark.slow
@pytest.mark.parametrize("what", ["503", "reset", "truncated"])
def test_a_download_that_fails_is_repeated(server, machine, what):
    address = server.bucket()
    here, there = machine("here", address), machine("there", address)
    shared.publish(written(here / "sets", CONTENT), "manifest.json")
    server.fault = once(what, ("GET",), "/objects/")
    shared.fetch(there / "sets")
    assert read(there / "sets") == CONTENT


@pytest.mark.slow
def test_a_full_store_is_one_line_and_nothing_is_published(s3, machine):
    address = s3.bucket()
    here, there = machine("here", address), machine("there", address)
    s3.fault = lambda method, path: "507" if method == "PUT" and "/objects/" in path else None
    with pytest.raises(DiskFullError) as error:
        shared.publish(written(here / "sets", CONTENT), "manifest.json")
    assert address in str(error.value) and "full" in str(error.value) and "\n" not in str(error.value)
    s3.fault = lambda method, path: None
    assert not shared.fetch(there / "sets") and not (there / "sets").exists()
    shared.publish(here / "sets", "manifest.json")  # room was made
    assert shared.fetch(there / "sets")


@pytest.mark.slow
def test_a_store_that_breaks_off_for_good_publishes_and_leaves_nothing(server, machine):
    address = server.bucket()
    here, there = machine("here", address), machine("there", address)
    shared.publish(written(here / "sets", CONTENT), "manifest.json")
    server.fault = lambda method, path: "truncated" if method == "GET" and "/objects/" in path else None
    with pytest.raises(OSError) as error:
        shared.fetch(there / "sets")
    assert error.value.filename.startswith(address) and "\n" not in str(error.value)
    assert not (there / "sets").exists()
    assert [path.name for path in there.iterdir()] == [shared.ORIGIN]


def test_an_object_that_is_not_what_was_published_is_refused(address, machine):
    here, there = machine("here", address), machine("there", address)
    shared.publish(written(here / "sets", CONTENT), "manifest.json")
    objects = shared.store_at(here).objects
    (large,) = [name for name in objects.names("objects") if objects.size(name) == 3000]
    objects.put(large, b"y" * 3000)
    with pytest.raises(InputError, match="not what was published as more"):
        shared.fetch(there / "sets")
    assert not (there / "sets").exists()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_may_be_a_store_itself(servers, scheme, machine):
    bucket = unspoiled(servers[scheme]).bucket().rpartition("/")[0]
    shared.publish(written(machine("here", bucket) / "data" / "sets", CONTENT), "manifest.json")
    machine("there", bucket)
    assert read(shared.found(f"{bucket}/data/sets")) == CONTENT
    assert shared.found(f"{bucket}/data/sets/more").read_text() == CONTENT["more"]
    with pytest.raises(InputError, match="is not published there"):
        shared.found(f"{bucket}/data/others")


@pytest.mark.slow
def test_wrong_credentials_are_told_from_a_missing_bucket(s3, machine):
    address = s3.bucket()
    with pytest.raises(InputError, match="no bucket 'nowhere'"):
        machine("here", "s3://nowhere/runs")
    s3.check_credentials(0)
    try:
        with pytest.raises(PermissionError) as error:
            machine("there", address)
    finally:
        s3.check_credentials("inf")
    assert error.value.errno == errno.EACCES and "refuses these credentials" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["401", "403"])
def test_google_refuses_credentials_in_one_line(servers, machine, status):
    google = unspoiled(servers["gs"])
    address = google.bucket()
    with pytest.raises(InputError, match="no bucket 'nowhere'"):
        machine("here", "gs://nowhere/runs")
    google.fault = lambda method, path: status
    with pytest.raises(PermissionError, match="refuses these credentials") as error:
        machine("there", address)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_of_those_who_create_an_object_at_the_same_time_one_does(servers, scheme):
    store = objects.Objects(unspoiled(servers[scheme]).bucket())
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda number: store.create("running/a.json", bytes([number])), range(16)))
    assert sorted(made) == [False] * 15 + [True] and store.read("running/a.json") == bytes([made.index(True)])
    store.delete("running/a.json")
    assert store.create("running/a.json", b"again")


@pytest.mark.parametrize("place", ["s4://bucket", "s3://", "file://relative", "https://somewhere/runs"])
def test_addresses_that_are_none(place):
    with pytest.raises(InputError, match=place.split(":", maxsplit=1)[0]):
        shared.opened(place)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package s3fs: pip install"):
        shared.opened("s3://bucket/runs")
    with pytest.raises(InputError, match="gcsfs"):
        shared.opened("gs://bucket/runs")


def test_two_machines_do_the_same_work_once(address, machine, monkeypatch):
    monkeypatch.setattr(leases, "_LOOK_EVERY_S", 0.02)
    here, there = machine("here", address), machine("there", address)
    results = [ResultsFolder(store / "extract" / "of-1", "of", {"a": 1}, {"summary"}) for store in (here, there)]
    with results[0].alone():
        objects = shared.store_at(there).objects
        assert leases.running(objects).keys() == {"extract/of-1"}
        with results[0].new() as new:
            (new / "summary").write_text("text")
    assert not leases.running(objects)
    with results[1].alone():
        assert results[1].kept
    assert read(there / "extract" / "of-1").keys() == {"summary", RECORD}


@pytest.mark.slow
def test_who_does_not_hear_that_it_may_work_does_not_wait_for_itself(server, machine):
    here = machine("here", server.bucket())
    server.fault = once("lost", ("PUT", "POST"), "/running/")
    since = time.monotonic()
    with alone(here / "sets"):
        assert leases.running(shared.store_at(here).objects).keys() == {"sets"}
    assert time.monotonic() - since < leases.OVER_S / 2


def test_results_that_could_not_be_published_are_the_next_time(address, machine, monkeypatch):
    here = machine("here", address)
    results = ResultsFolder(here / "extract" / "of-1", "of", {"a": 1}, {"summary"})
    with monkeypatch.context() as broken:
        broken.setattr(shared.SharedStore, "_upload", lambda *_: (_ for _ in ()).throw(OSError(5, "broken", "store")))
        with pytest.raises(OSError, match="broken"), results.new() as new:
            (new / "summary").write_text("text")
    assert results.complete and shared.store_at(here).names() == []
    results.settle()
    assert shared.store_at(here).names() == ["extract/of-1"]


def test_what_fails_is_on_record_until_it_succeeds(address, machine):
    here = machine("here", address)
    objects = shared.store_at(here).objects
    for attempts in (1, 2):
        with pytest.raises(InputError), alone(here / "sets"):
            raise InputError("no scene\ncould be rendered")
        (failure,) = leases.failed(objects).values()
        assert (failure.reason, failure.attempts) == ("no scene could be rendered", attempts)
    with alone(here / "sets"):
        pass
    assert not leases.failed(objects) and not leases.running(objects)


def test_a_lease_of_a_machine_that_is_gone_is_over(address, machine, monkeypatch):
    monkeypatch.setattr(leases, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(leases, "OVER_S", 0.1)
    here = machine("here", address)
    objects = shared.store_at(here).objects
    gone = b'{"host": "elsewhere", "pid": 1, "since": "yesterday", "renewed": "2026-01-01T00:00:00+00:00"}'
    assert objects.create("running/sets.json", gone) and not objects.create("running/sets.json", gone)
    with alone(here / "sets"):
        (lease,) = leases.running(objects).values()
        assert lease.pid == os.getpid()


def test_a_lease_that_was_not_written_whole_is_over_too(address, machine, monkeypatch):
    """A full disk or a killed process can leave an empty object, where objects do not appear whole."""
    monkeypatch.setattr(leases, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(leases, "OVER_S", 0.1)
    here = machine("here", address)
    objects = shared.store_at(here).objects
    assert objects.create("running/sets.json", b"")
    told = []
    reporter = SimpleNamespace(info=told.append)
    with leases.leased(here / "sets", {"host": "here", "pid": os.getpid(), "since": "now"}, reporter):
        (lease,) = leases.running(objects).values()
        assert lease.pid == os.getpid()
    assert [line.partition("/sets: ")[2] for line in told] == [
        "a process that has not said who it is works there; waiting until that has ended",
        "nothing was heard of a process that has not said who it is; going on without it",
    ]
