"""Curves on TensorBoard and Weights & Biases, which restarts must not double."""

import importlib.util
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from experiments.storage.files import read_json
from experiments.training.log_flag import DEFINE_log, trackers_of
from experiments.training.loop import LoopSettings
from experiments.training.metrics_log import read_metrics
from experiments.training.trackers import check_installed, curves, trackers
from subspace.errors import InputError
from tests.experiments.training import short_run


class Interrupted(Exception):
    pass


def interrupted_at(step):
    def batches(i):
        if i == step:
            raise Interrupted
        return short_run.make_batch(i)

    return batches


def on_tensorboard(folder):
    """Name of each curve → its (step, value), as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def on_wandb(folder):
    """Name of each curve → its (step, value), of all starts of the run that were kept on this machine."""
    pytest.importorskip("wandb")
    found = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in ended(file):
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    found.setdefault(name, []).append((int(items["_step"]), float(value)))
    return found


def ended(file):
    """All records of a start, whose last one the process that writes them may write after ``finish`` has come back."""
    kind = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    for _ in range(300):
        records = [kind.FromString(content) for content in log_records(file.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end")


def log_records(data):
    """The records of a LevelDB log after a header of 7 bytes: blocks of 32 KiB of (checksum, length, kind, content)."""
    place, parts = 7, []
    while place + 7 <= len(data):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def expected(folder, name):
    """What ``metrics.jsonl`` says: (step, value) of each adapter's curve."""
    events = [e for e in read_metrics(folder / "metrics.jsonl") if e["kind"] == "training"]
    return [[(e["step"], e[name][adapter]) for e in events] for adapter in range(short_run.K)]


@pytest.mark.parametrize(
    ("name", "package", "read"),
    [
        ("tensorboard", "tensorboardX", on_tensorboard),
        pytest.param("wandb", "wandb", on_wandb, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_interrupted_shows_every_step_once(tmp_path, monkeypatch, name, package, read):
    pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = replace(short_run.SETTINGS, checkpoint_every=4, log=(name,))
    with pytest.raises(Interrupted):
        short_run.run(tmp_path, settings=settings, batches=interrupted_at(6))
    # the next start goes on after the fourth step, and takes the fifth and sixth again
    short_run.run(tmp_path, settings=settings)
    found = read(tmp_path)
    for adapter in range(short_run.K):
        curve, true = found[f"training/loss/{adapter}"], expected(tmp_path, "loss")[adapter]
        assert [step for step, _ in curve] == [1, 2, 3, 4, 5, 6, 7]
        np.testing.assert_allclose([value for _, value in curve], [value for _, value in true], rtol=1e-6)
        assert [step for step, _ in found[f"validation/norm/{adapter}"]] == [3, 6, 7]
    starts = sorted(tmp_path.glob("events.out.*")) + sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len(starts) == 2
    short_run.run(tmp_path, settings=settings)  # there is nothing left to show
    assert sorted(tmp_path.glob("events.out.*")) + sorted(tmp_path.glob("wandb/offline-run-*")) == starts


@pytest.mark.slow
def test_a_killed_run_is_not_doubled_on_wandb(tmp_path, monkeypatch):
    """The record says what was given even where checkpoints are older."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with trackers(["wandb"], tmp_path, 0, {"seed": 0}) as (tracker,):
        for step in (1, 2, 3):
            tracker.write(step, "training", {"loss": step})
        assert read_json(tmp_path / "wandb.json")["last_step"] == 2  # the third may get more values
    time.sleep(1)  # wandb names what a start keeps by its second
    with trackers(["wandb"], tmp_path, 0, {"seed": 0}) as (tracker,):
        for step in (1, 2, 3, 4):
            tracker.write(step, "training", {"loss": step})
    assert on_wandb(tmp_path) == {"training/loss": [(step, step) for step in (1, 2, 3, 4)]}
    assert len({path.name.split("-")[3] for path in tmp_path.glob("wandb/offline-run-*")}) == 1  # one run on the web


def test_one_number_is_one_curve():
    values = {"loss": np.array([0.5]), "angle": 3, "norms": np.array([1.0, np.nan])}
    found = curves("training", values)
    assert list(found) == ["training/loss", "training/angle", "training/norms/0", "training/norms/1"]
    assert found["training/angle"] == 3 and np.isnan(found["training/norms/1"])


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_told_with_its_extra_before_anything_is_trained(monkeypatch, name, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        sys.modules[check_installed.__module__], "find_spec", lambda p: None if p == package else find(p)
    )
    with pytest.raises(InputError, match=rf"pip install 'attribute-subspaces\[{name}\]'$") as error:
        LoopSettings(1, log=(name,))
    assert error.value.argument == "log" and "\n" not in str(error.value)


def test_weights_and_biases_out_of_reach_is_one_line(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def fail(**_):
        raise wandb.errors.CommError("no answer")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(InputError, match=r"^Weights & Biases: no answer$"), trackers(["wandb"], tmp_path, 0, {}):
        pass


def test_unknown_places_are_named():
    with pytest.raises(InputError, match="mlflow is not a place for metrics; there are tensorboard, wandb"):
        check_installed(["mlflow"])


def test_both_packages_are_extras_of_this_project():
    text = (Path(__file__).parents[3] / "setup.py").read_text()
    assert '"tensorboard": [' in text and '"wandb": [' in text


def parsed(*arguments):
    values = flags.FlagValues()
    DEFINE_log(values)
    values(["command", *arguments])
    return trackers_of(values)


def test_the_flag_takes_several_places_and_refuses_others(monkeypatch):
    monkeypatch.setattr(sys.modules[check_installed.__module__], "find_spec", lambda package: object())
    assert parsed() == () and parsed("--log=wandb") == ("wandb",)
    assert parsed("--log=tensorboard,wandb") == ("tensorboard", "wandb")
    with pytest.raises(flags.Error, match="flag --log=mlflow: mlflow is not a place for metrics"):
        parsed("--log=mlflow")
    monkeypatch.setattr(sys.modules[check_installed.__module__], "find_spec", lambda package: None)
    with pytest.raises(flags.Error, match=r"pip install 'attribute-subspaces\[wandb\]'"):
        parsed("--log=wandb")


def test_without_trackers_nothing_else_is_written(tmp_path):
    short_run.run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "metrics.jsonl", "checkpoints"}
