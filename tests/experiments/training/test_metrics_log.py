import json

import numpy as np
import pytest

from experiments.training.metrics_log import MetricsLog, read_metrics


def test_lines_are_plain_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        log.write(1, "training", {"loss": np.array([0.5, np.nan], np.float32), "count": np.int32(3)})
        log.write(2, "validation", {"angle": float("inf")})
    assert read_metrics(path) == [
        {"step": 1, "kind": "training", "loss": [0.5, None], "count": 3},
        {"step": 2, "kind": "validation", "angle": None},
    ]


def test_later_lines_go_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        for step in (1, 2, 3):
            log.write(step, "training", {})
    with path.open("a") as file:
        file.write('{"step": 4')
    with MetricsLog(path, 2) as log:
        log.write(3, "training", {"again": 1})
    assert [(e["step"], "again" in e) for e in read_metrics(path)] == [(1, False), (2, False), (3, True)]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("line", ["nothing", '{"kind": "training"}', "[1]"])
def test_foreign_file_is_named_and_kept(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    text = json.dumps({"step": 1, "kind": "training"}) + "\n" + line + "\n"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.jsonl: not a line of metrics"):
        MetricsLog(path, 5)
    assert path.read_text() == text
