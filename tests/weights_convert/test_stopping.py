"""Commands that get signals, in processes of their own."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

COMMAND = """
    import gc, hashlib, importlib.util, signal, sys, time
    from weights_convert.command_line import run

    for number in (signal.SIGINT, signal.SIGHUP):  # which whoever runs the tests may ignore
        signal.signal(number, signal.SIG_DFL)

    class Owner:
        def __del__(self):
            work()  # Python drops what is raised in here

    class Key:
        __hash__ = lambda self: 0
        def __eq__(self, other):
            try:
                work()
            except BaseException:
                raise ValueError("cannot be compared")  # as JAX's compiled parts do

    def work():
        print("working", flush=True)
        time.sleep(60)

    def unwinds():
        try:
            print("working", flush=True)
            time.sleep(60)
        finally:
            time.sleep(0.3)
            print("cleaned up")

    def computes():
        try:
            print("working", flush=True)
            time.sleep(0.5)  # the signal may come before what it cannot interrupt
        finally:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

    def drops():
        try:
            Owner()
            time.sleep(60)
        finally:
            print("cleaned up")

    def collects():
        gc.callbacks.append(lambda phase, _: work() if phase == "start" else None)
        try:
            gc.collect()
            gc.callbacks.clear()
            time.sleep(60)
        finally:
            print("cleaned up")

    def changes():
        try:
            {Key(): 0, Key(): 1}
        finally:
            print("cleaned up")

    def imports():
        class Slow:  # finds a module that takes long to load
            @staticmethod
            def find_spec(name, *_):
                return importlib.util.spec_from_loader(name, Slow) if name == "slow" else None
            create_module = staticmethod(lambda spec: None)
            exec_module = staticmethod(lambda module: work())

        sys.meta_path.insert(0, Slow)
        try:
            import slow
        finally:
            print("raised")

    name = sys.argv.pop()
    run(lambda _: globals()[name]())
"""


def stopped(what, *numbers, **options):
    """Status, lines of stdout and of stderr, and the seconds from the first signal to the end of a command."""
    command = [sys.executable, "-c", textwrap.dedent(COMMAND), what]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
        **options,
    )
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    start = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)
    out, errors = process.communicate(timeout=30)
    return process.returncode, out.splitlines(), errors.splitlines(), time.monotonic() - start


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_a_signal_unwinds_the_command_and_tells_the_shell_which_it_was(number, status):
    ended, out, errors, _ = stopped("unwinds", number)
    assert (ended, out) == (status, ["cleaned up"])
    assert len(errors) == 1 and ": interrupted" in errors[0]


def test_a_second_signal_does_not_cut_the_cleaning_up():
    ended, out, errors, _ = stopped("unwinds", signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    assert (ended, out) == (129, ["cleaned up"]) and len(errors) == 1


@pytest.mark.parametrize("what", ["drops", "collects", "changes"])
def test_what_swallows_the_interruption_is_interrupted_all_the_same(what):
    ended, out, errors, _ = stopped(what, signal.SIGTERM)
    assert (ended, out[-1]) == (143, "cleaned up")
    assert len(errors) == 1 and ": interrupted" in errors[0]


def test_what_cannot_be_interrupted_ends_all_the_same():
    ended, _, errors, seconds = stopped("computes", signal.SIGINT)
    assert ended == 130 and ": interrupted" in errors[-1]
    assert 1.4 < seconds < 10  # two at most, and what a busy machine adds


def test_no_module_is_left_half_loaded():
    ended, out, errors, _ = stopped("imports", signal.SIGINT)
    assert (ended, out) == (130, []) and len(errors) == 1 and ": interrupted" in errors[0]


def test_signals_that_are_ignored_stay_so():
    code = """
        import signal, sys, time
        from weights_convert.command_line import run
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        run(lambda _: signal.raise_signal(signal.SIGHUP))
        print("to its end", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert (done.returncode, done.stdout) == (0, "to its end True\n")


@pytest.mark.parametrize("module", ["experiments.status", "weights_convert"])
def test_a_command_that_still_loads_ends_without_a_traceback(module):
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", module],  # says what was loaded
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which whoever runs the tests may ignore
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().endswith(f"| {module.partition('.')[0]}\n"):
            pass
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == -signal.SIGINT and "Traceback" not in errors
