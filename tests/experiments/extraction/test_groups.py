import json

import pytest

from experiments.extraction.groups import (
    RECORD,
    finished,
    folder_of,
    group_size,
    groups_of,
    join_metrics,
    joined_losses,
    write_record,
)
from experiments.training.metrics_log import MetricsLog, read_metrics
from subspace.errors import InputError

PAPER, NANO = 32 * 518**2, 8 * 96**2


@pytest.mark.parametrize(
    ("at_once", "k", "devices", "pixels", "on_cpu", "size"),
    [
        (None, 10, 1, PAPER, False, 1),
        (None, 10, 4, PAPER, False, 4),
        (None, 10, 1, PAPER // 4, False, 4),
        (None, 5, 1, NANO, False, 5),
        (None, 10, 1, PAPER, True, 10),
        (None, 5, 2, NANO, True, 4),
        (2, 10, 1, PAPER, False, 2),
        (3, 5, 2, PAPER, False, 4),
        (20, 5, 1, NANO, True, 5),
    ],
)
def test_sizes(at_once, k, devices, pixels, on_cpu, size):
    assert group_size(at_once, k, devices, pixels, on_cpu=on_cpu) == size


@pytest.mark.parametrize(
    ("k", "size", "devices", "done", "groups"),
    [
        (5, 5, 1, (), [(0, 1, 2, 3, 4)]),
        (5, 2, 1, (), [(0, 1), (2, 3), (4,)]),
        (5, 2, 1, (0, 1), [(2, 3), (4,)]),
        (5, 2, 1, (0, 1, 2, 3, 4), []),
        (5, 2, 2, (), [(0, 1), (2, 3), (0, 4)]),
        (5, 4, 4, (), [(0, 1, 2, 3), (0, 1, 2, 4)]),
        (5, 4, 2, (1,), [(0, 2, 3, 4)]),
    ],
)
def test_every_adapter_is_in_a_group_that_the_devices_share(k, size, devices, done, groups):
    assert groups_of(k, size, devices, done) == groups


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 20])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_devices_share_all_groups_evenly_whatever_their_number(at_once, on_cpu):
    for k in range(2, 12):
        for devices in range(1, k + 1):
            size = group_size(at_once, k, devices, NANO, on_cpu=on_cpu)
            for done in ((), (0,), tuple(range(k - 1))):
                found = groups_of(k, size, devices, done)
                assert all(len(group) % devices == 0 and len(set(group)) == len(group) for group in found)
                assert set().union(*found) >= set(range(k)) - set(done)


def record(folder, numbers, losses):
    """A group that is done: an adapter's loss on its two scenes is ``losses`` and 10 more before training."""
    here = folder_of(folder, numbers)
    here.mkdir(parents=True)
    names = [f"a_{number:02d}" for number in numbers]
    after = [[loss, loss + 1] for loss in losses]
    write_record(here, names, {"before": {"loss": [[x + 10 for x in row] for row in after]}, "after": {"loss": after}})
    with MetricsLog(here / "metrics.jsonl", 0) as log:
        for step in (1, 2):
            log.write(step, "training", {"loss": [loss + 100 * step for loss in losses]})
        log.write(2, "validation", {"loss": losses})
    return here


def test_groups_are_put_together_as_if_they_had_been_one(tmp_path):
    record(tmp_path, (0, 2), [5.0, 7.0])
    record(tmp_path, (1,), [6.0])
    done = finished(tmp_path)
    assert sorted(done) == ["a_00", "a_01", "a_02"]
    members = [done[name] for name in sorted(done)]
    assert joined_losses(members)["after"] == {"loss": [[5, 6], [6, 7], [7, 8]]}
    join_metrics(members, "metrics.jsonl", tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "kind": "training", "loss": [105, 106, 107]},
        {"step": 2, "kind": "training", "loss": [205, 206, 207]},
        {"step": 2, "kind": "validation", "loss": [5, 6, 7]},
    ]


def test_what_somebody_changed_is_refused(tmp_path):
    record(tmp_path, (0,), [5.0])
    other = record(tmp_path, (1,), [6.0])
    log = other / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    members = list(finished(tmp_path).values())
    with pytest.raises(InputError, match="not of the same steps"):
        join_metrics(members, "metrics.jsonl", tmp_path / "metrics.jsonl")
    (other / RECORD).write_text(json.dumps({"adapters": ["a_01"]}))
    with pytest.raises(InputError, match=RECORD):
        finished(tmp_path)
