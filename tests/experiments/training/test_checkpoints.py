"""Checkpoints by themselves: full disks, those of earlier runs, damaged ones, other divisions of the same arrays."""

import errno
import json
import resource
import sys
import threading
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import load_file, save_file

from experiments.training.checkpoints import Checkpoints
from experiments.training.state_file import read_state, write_state
from subspace.errors import InputError
from tests.experiments.training import short_run
from vggt_jax.disk_space import DiskFullError


def at(step):
    """A state of its own for each step."""
    state = short_run.one_matrix()[1]
    return replace(jax.tree.map(lambda x: x + step, state), step=jnp.asarray(step, jnp.int32))


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for found, expected in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.fixture
def limit():
    """Sets the size that no file may exceed, as ``ulimit -f`` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 400, 1500])
def test_a_disk_that_takes_no_more_leaves_no_file_no_thread_and_no_words(tmp_path, limit, capfd, size):
    """At one byte nothing can be written, at 400 the header of the state cannot, at 1,500 its numbers."""
    hooks = sys.excepthook, sys.unraisablehook
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(at(1))
        threads = set(threading.enumerate())
        limit(size)
        with pytest.raises(DiskFullError) as error:
            checkpoints.save(at(2))
        limit(resource.RLIM_INFINITY)
        for ending in set(threading.enumerate()) - threads:  # orbax's event loop is closed before its thread has ended
            ending.join(timeout=30)
            assert not ending.is_alive()
        assert (sys.excepthook, sys.unraisablehook) == hooks
        assert [path.name for path in tmp_path.iterdir()] == ["1"] and "\n" not in str(error.value)
        assert capfd.readouterr() == ("", "")
        checkpoints.save(at(2))
        assert_equal(checkpoints.restore(at(0)), at(2))


def test_what_a_save_that_was_cut_short_left_goes_once_the_newest_is_read(tmp_path, monkeypatch):
    """The disk fails after a checkpoint has its name, before the one in front of it is removed."""
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(at(1))
        with monkeypatch.context() as broken, pytest.raises(DiskFullError):
            broken.setattr(
                "experiments.training.checkpoints.sync", mock.Mock(side_effect=OSError(errno.ENOSPC, "full"))
            )
            checkpoints.save(at(2))
        assert checkpoints.steps() == [1, 2]
        newest = tmp_path / "2" / "0.safetensors"
        whole = newest.read_bytes()
        newest.write_bytes(whole[:-1])
        with pytest.raises(InputError, match="damaged"):
            checkpoints.restore(at(0))
        assert checkpoints.steps() == [1, 2]  # the earlier one is needed now
        newest.write_bytes(whole)
        assert_equal(checkpoints.restore(at(0)), at(2))
        assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_checkpoints_of_earlier_runs_are_read_and_followed_by_new_ones(tmp_path):
    with ocp.CheckpointManager(tmp_path, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False)) as old:
        for step in (1, 2):
            old.save(step, args=ocp.args.StandardSave(at(step)))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert_equal(checkpoints.restore(at(0)), at(2))
        checkpoints.save(at(3))
        assert_equal(checkpoints.restore(at(0)), at(3))
        assert checkpoints.steps() == [2, 3]
    with Checkpoints(tmp_path) as checkpoints:
        assert_equal(checkpoints.restore(at(0)), at(3))


def test_a_damaged_checkpoint_of_an_earlier_run_is_named(tmp_path):
    with ocp.CheckpointManager(tmp_path, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False)) as old:
        old.save(1, args=ocp.args.StandardSave(at(1)))
    for path in (tmp_path / "1").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(InputError, match=f"{tmp_path / '1'}: not a checkpoint"):
        checkpoints.restore(at(0))


STATE = {
    "step": np.int32(7),
    "weights": [np.arange(12, dtype=np.float32).reshape(4, 3), np.ones(2, ml_dtypes.bfloat16)],
    "moments": (np.zeros((2, 0), np.float32), np.array([True, False]), np.uint32(2**32 - 1)),
}


def placed(state):
    return jax.tree.map(jnp.asarray, state)


def test_every_type_and_shape_comes_back_and_other_programs_read_it(tmp_path):
    write_state(tmp_path, placed(STATE))
    assert_equal(read_state(tmp_path, placed(jax.tree.map(np.zeros_like, STATE))), STATE)
    found = load_file(tmp_path / "0.safetensors")
    np.testing.assert_array_equal(found["weights/0"], STATE["weights"][0])


def test_parts_that_several_processes_wrote_are_put_together(tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    for number, column in enumerate((0, 4)):  # of four parts, each process has two
        ends = {0: 3, 3: 4}
        parts = {f"from {row}": {"of": "a", "shape": [4, 6], "start": [row, column]} for row in ends}
        tensors = {f"from {row}": whole[row:end, column : column + 4].copy() for row, end in ends.items()}
        save_file(tensors, tmp_path / f"{number}.safetensors", {"parts": json.dumps(parts)})
    like = {"a": jnp.zeros((4, 6))}
    np.testing.assert_array_equal(read_state(tmp_path, like)["a"], whole)
    (tmp_path / "1.safetensors").unlink()
    with pytest.raises(InputError, match="a part of a is missing"):
        read_state(tmp_path, like)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"a": np.zeros((2, 3), np.float32)}, "of another form"),
        ({"a": np.zeros((3, 2), np.float16)}, "of another form"),
        ({"a": np.zeros(3, np.float32)}, "of another form"),
        ({"b": np.zeros((3, 2), np.float32)}, "is only in"),
        ({"a": np.zeros((3, 2), np.float32), "b": np.zeros(1)}, "is only in"),
    ],
)
def test_states_of_another_form_are_refused(tmp_path, like, words):
    write_state(tmp_path, {"a": jnp.zeros((3, 2))})
    with pytest.raises(InputError, match=words):
        read_state(tmp_path, placed(like))


@pytest.mark.parametrize(
    "parts",
    [
        None,
        "{",
        "[]",
        "{}",
        '{"a": {"of": "a", "shape": [3], "start": [0]}, "b": {"of": "b", "shape": [3], "start": [0]}}',
        '{"a": {"of": "a", "shape": [3], "start": [-1]}}',
        '{"a": {"of": "a", "shape": [3], "start": [1]}}',
        '{"a": {"of": "a", "shape": [4], "start": [0]}}',
        '{"a": {"of": "a", "shape": [3], "start": [0, 0]}}',
        '{"a": {"of": "a", "shape": [3], "start": ["0"]}}',
        '{"a": {"of": "a", "shape": [3]}}',
    ],
)
def test_what_a_file_says_of_its_parts_is_not_believed(tmp_path, parts):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "0.safetensors", {"parts": parts} if parts else None)
    with pytest.raises(InputError, match=str(tmp_path)):
        read_state(tmp_path, {"a": jnp.zeros(3)})
