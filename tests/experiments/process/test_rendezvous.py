"""Processes of a job meet, here as threads."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from experiments.process.rendezvous import Job, meet
from subspace.errors import InputError
from tests.experiments.process.test_hosts import free_port


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("localhost", 2, 0), "coordinator must be HOST:PORT"),
        (("localhost:no", 2, 0), "coordinator must be HOST:PORT"),
        (("localhost:70000", 2, 0), "coordinator must be HOST:PORT"),
        ((":1234", 2, 0), "coordinator must be HOST:PORT"),
        (("node:1234", 2, 2), "process is a number from 0 to 1, got 2"),
        (("node:1234", 0, 0), "processes must be at least 1"),
    ],
)
def test_what_is_no_job_is_named(arguments, named):
    with pytest.raises(InputError, match=named):
        Job(*arguments)


def met(*processes, timeout=5):
    """For each (number, process, told) what meeting at one place ended with: nothing, or what was refused."""
    place = f"localhost:{free_port()}"

    def one(number, process, told):
        try:
            meet(Job(place, number, process, timeout), told)
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(processes)) as threads:
        return list(threads.map(lambda each: one(*each), processes))


def test_all_come():
    assert met((3, 2, "same"), (3, 0, "same"), (3, 1, "same")) == ["", "", ""]


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ((3, 1, "same"), "process 1 was told that there are 3 processes, process 0 that 2"),
        ((2, 1, "other"), "process 1 was given other arguments"),
    ],
)
def test_all_are_told_what_differs(second, named):
    for refused in met((2, 0, "same"), second):
        assert named in refused


def test_two_of_one_number_are_refused():
    found = met((3, 0, ""), (3, 1, ""), (3, 1, ""))
    assert all("two processes were told that they are process 1" in refused for refused in found)


def test_who_waits_in_vain_says_for_whom():
    first, second = met((3, 0, ""), (3, 1, ""), timeout=0.5)
    assert "process 2 did not come to localhost:" in first and first == second
    with pytest.raises(InputError, match=r"localhost:1 has not answered within 0 s \(Connection refused\)"):
        meet(Job("localhost:1", 2, 1, timeout=0))


def test_strangers_are_passed_over_and_a_taken_port_is_named():
    port = free_port()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(meet, Job(f"localhost:{port}", 2, 0, 20), "")
        while not first.running():
            time.sleep(0.01)
        time.sleep(0.2)
        with socket.create_connection(("localhost", port), timeout=5) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n")
        meet(Job(f"localhost:{port}", 2, 1, 20), "")
        first.result()
    with socket.create_server(("", port)) as other, ThreadPoolExecutor(1) as threads:
        second = threads.submit(meet, Job(f"localhost:{port}", 2, 1, timeout=0), "")
        with other.accept()[0] as guest:
            guest.sendall(b"220 ready\r\n")
        with pytest.raises(InputError, match="what answers there is no process 0"):
            second.result()
    with socket.create_server(("", port)), pytest.raises(InputError, match=f"port {port} of this host cannot be had"):
        meet(Job(f"localhost:{port}", 2, 0, 1), "")
