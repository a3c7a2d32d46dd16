"""Runs that are interrupted, refused and watched."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from orbax.checkpoint import Checkpointer

from experiments.process.reporting import Reporter
from experiments.storage import shared
from experiments.storage.identity import identity
from experiments.training import continuation
from experiments.training.checkpoints import Checkpoints
from experiments.training.loop import Diverged, LoopSettings
from experiments.training.metrics_log import read_metrics
from tests.experiments.training import short_run
from vggt_jax.disk_space import DiskFullError

ROOT = Path(__file__).parents[3]


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder and what it ends in."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, short_run.run(folder)


def assert_same_end(folder, state, whole):
    for (path, one), other in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(whole[1]), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), jax.tree_util.keystr(path)
    assert (folder / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def program(folder, model, *death):
    """The run in a process of its own, with compiled programs kept between processes; its exit status."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
    command = [sys.executable, "-m", "tests.experiments.training.short_run", str(folder), model, *map(str, death)]
    return subprocess.run(command, env=environment, cwd=ROOT, timeout=300, stderr=subprocess.DEVNULL).returncode


def test_what_a_run_leaves(whole):
    folder, state = whole
    assert state.step == 7 and state.skipped.tolist() == [0, 0]
    assert json.loads((folder / "run.json").read_text()) == {"model": "one_matrix", "seed": 0}
    events = read_metrics(folder / "metrics.jsonl")
    assert [(e["step"], e["kind"]) for e in events] == [
        *((step, "training") for step in (1, 2, 3)),
        (3, "validation"),
        *((step, "training") for step in (4, 5, 6)),
        (6, "validation"),
        (7, "training"),
        (7, "validation"),
    ]
    terms = {"loss", "loss_regression", "gradient_norm", "skipped", "skipped_in_a_row"}
    assert set(events[0]) == {"step", "kind", *terms}
    assert len(events[0]["loss"]) == 2 and events[-2]["loss"][0] < events[0]["loss"][0]
    with Checkpoints(folder / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [6, 7]


def test_finished_run_does_nothing_more(whole, tmp_path):
    def refuse(step):
        raise AssertionError(step)

    state = short_run.run(whole[0], batches=refuse)
    assert_same_end(whole[0], state, whole)


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[pytest.mark.slow] if step not in (2, 5) else []) for step in range(1, 7)]
)
def test_interrupted_at_any_step_it_goes_on_in_the_same_bits(tmp_path, whole, step):
    """Between checkpoints at steps 2, 4 and 6 and validations at 3 and 6."""

    def batches(i):
        if i == step:
            raise Interrupted
        return short_run.make_batch(i)

    with pytest.raises(Interrupted):
        short_run.run(tmp_path, batches=batches)
    repeated = []

    def recorded(i):
        repeated.append(i)
        return short_run.make_batch(i)

    assert_same_end(tmp_path, short_run.run(tmp_path, batches=recorded), whole)
    assert min(repeated) == step - step % 2


def test_interrupted_on_one_machine_it_goes_on_on_another(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(continuation, "_EVERY_S", 0.0)

    def machine(name):
        monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / name))
        return shared.opened(f"file://{tmp_path}/store") / "adapters" / "run"

    def batches(i):
        if i == 5:
            raise Interrupted
        return short_run.make_batch(i)

    with pytest.raises(Interrupted):
        short_run.run(machine("one"), batches=batches)
    repeated, there = [], machine("two")

    def recorded(i):
        repeated.append(i)
        return short_run.make_batch(i)

    assert_same_end(there, short_run.run(there, batches=recorded), whole)
    assert min(repeated) == 4


def test_killed_while_it_saves(tmp_path, whole):
    assert program(tmp_path, "one_matrix", 4, "within") == -signal.SIGKILL
    assert any("tmp" in path.name for path in (tmp_path / "checkpoints").iterdir())
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [2]
    assert_same_end(tmp_path, short_run.run(tmp_path), whole)
    assert not any("tmp" in path.name for path in (tmp_path / "checkpoints").iterdir())


def test_full_disk_is_named_and_the_run_goes_on(tmp_path, whole, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save = Checkpoints.save

    def saving(self, state):
        with monkeypatch.context() as disk:
            if int(state.step) == 4:  # everything is written, and cannot get its name
                disk.setattr(os, "rename", full)
                disk.setattr(os, "replace", full)
            save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", saving)
        with pytest.raises(DiskFullError, match=r"checkpoints: no space left on device; make room") as error:
            short_run.run(tmp_path)
    assert isinstance(error.value.__cause__, OSError) and "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
    assert_same_end(tmp_path, short_run.run(tmp_path), whole)


def test_a_checkpoint_that_cannot_fit_is_not_begun(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(Checkpointer, "save", lambda *_, **__: pytest.fail("begun"))
    with pytest.raises(DiskFullError, match="checkpoints: no space left on device"):
        short_run.run(tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_full_disk_elsewhere_keeps_its_name(tmp_path):
    def batches(step):
        raise DiskFullError(Path("store/tokens"))

    with pytest.raises(DiskFullError, match="store/tokens: no space left on device"):
        short_run.run(tmp_path, batches=batches)


@pytest.mark.slow
def test_vggt_killed_again_and_again(tmp_path):
    assert program(tmp_path / "whole", "vggt") == 0
    for death in ((2, "before"), (4, "within"), (6, "after")):
        assert program(tmp_path / "killed", "vggt", *death) == -signal.SIGKILL
    assert program(tmp_path / "killed", "vggt") == 0
    ends = []
    for name in ("whole", "killed"):
        with Checkpoints(tmp_path / name / "checkpoints") as checkpoints:
            state = checkpoints.restore(short_run.MODELS["vggt"]()[1])
        ends.append((tmp_path / name, state))
    assert_same_end(*ends[1], ends[0])


@pytest.mark.slow
def test_two_processes_with_four_devices_each_equal_one_with_one(tmp_path, whole):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, "-m", "tests.experiments.training.two_processes", str(port)]
    job = [
        subprocess.Popen(
            [*command, str(i), str(tmp_path)], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in job]
    assert [process.returncode for process in job] == [0, 0], errors
    assert "7/7" in errors[0] and "7/7" not in errors[1]
    found, expected = (
        [e for e in read_metrics(folder / "metrics.jsonl") if e["kind"] == "training"]
        for folder in (tmp_path, whole[0])
    )
    assert [e["step"] for e in found] == list(range(1, 8))
    np.testing.assert_allclose([e["loss"] for e in found], [e["loss"] for e in expected], rtol=1e-5)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        state = checkpoints.restore(whole[1])
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(whole[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_torn_last_line_is_replaced(tmp_path, whole):
    settings = replace(short_run.SETTINGS, steps=4, validate_every=9)
    short_run.run(tmp_path, settings=settings, validate=lambda state: {})
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + '{"step": 5, "ki')  # without the validation after the fourth step, too
    short_run.run(tmp_path)
    assert [e["step"] for e in read_metrics(path)] == [1, 2, 3, 4, 5, 6, 6, 7, 7]


def test_other_settings_are_refused(whole):
    with pytest.raises(ValueError, match=r"holds a run with other settings: seed is 0 there and 1 here$"):
        short_run.run(whole[0], identity={"model": "one_matrix", "seed": 1})


def test_damaged_checkpoint_is_named(tmp_path):
    short_run.run(tmp_path, settings=replace(short_run.SETTINGS, steps=2))
    for path in (tmp_path / "checkpoints" / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoints/2: not a checkpoint of this run, or damaged"):
        short_run.run(tmp_path)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), TypeError("a fault")]
)
def test_what_is_no_damage_of_a_checkpoint_is_not_called_so(tmp_path, monkeypatch, error):
    short_run.run(tmp_path, settings=replace(short_run.SETTINGS, steps=2))

    def restore(*_, **__):
        raise error

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.restore", restore)
    with pytest.raises(type(error)) as raised:
        short_run.run(tmp_path)
    assert raised.value is error


def broken_from(first):
    def batches(step):
        batch = short_run.make_batch(step)
        if step >= first:
            batch.images[1] = np.nan
        return batch

    return batches


def test_losses_that_stay_infinite_stop_the_run(tmp_path):
    settings = replace(short_run.SETTINGS, skips_in_a_row=2)
    with pytest.raises(Diverged, match=r"stopped at step 6: loss or gradient of adapter 1 .* 3 steps in a row"):
        short_run.run(tmp_path, batches=broken_from(3), settings=settings)
    events = [e for e in read_metrics(tmp_path / "metrics.jsonl") if e["kind"] == "training"]
    assert [e["skipped"] for e in events] == [[0, 0]] * 3 + [[0, 1], [0, 2], [0, 3]]
    assert events[3]["loss"][1] is None and events[3]["loss"][0] > 0


def test_no_step_may_be_skipped_where_none_may_be_missing(tmp_path):
    settings = replace(short_run.SETTINGS, skips_in_a_row=0)
    with pytest.raises(Diverged, match=r"stopped at step 4: loss or gradient of adapter 1 was not finite$"):
        short_run.run(tmp_path, batches=broken_from(3), settings=settings)
    with pytest.raises(ValueError, match="skips_in_a_row must be at least 0, got -1"):
        replace(settings, skips_in_a_row=-1)


def test_few_skipped_steps_are_counted(tmp_path):
    state = short_run.run(tmp_path, batches=broken_from(5))
    assert state.skipped.tolist() == state.skipped_in_a_row.tolist() == [0, 2]


def test_progress_shows_loss_speed_and_time_left(tmp_path, capsys):
    short_run.run(tmp_path, reporter=Reporter(bars=True, delay=0))
    line = capsys.readouterr().err.split("\r")[-1]
    for part in ("7/7", "loss ", "images/s", "00:00"):
        assert part in line


@pytest.mark.parametrize("name", ["steps", "checkpoint_every", "threads"])
def test_settings_below_one_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        LoopSettings(**{"steps": 1, name: 0})


def test_what_no_result_depends_on_is_not_part_of_a_runs_identity():
    plain = LoopSettings(100)
    assert set(identity(plain)) == {"steps", "validate_every", "skips_in_a_row"}
    other = replace(plain, checkpoint_every=7, keep=1, threads=4, ahead=8)
    assert identity(other) == identity(plain) != identity(replace(plain, validate_every=7))
