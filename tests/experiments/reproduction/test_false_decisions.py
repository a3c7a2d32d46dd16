"""How often claims are decided where nothing differs, with the shipped records' own spread of seeds and scenes."""

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.presets import PRESETS
from experiments.reproduction.claims import CLAIMS, examine
from experiments.reproduction.plan import run_of
from experiments.reproduction.records import RunRecord, read, record_file
from experiments.reproduction.rows import TABLES
from tests.experiments.reproduction import planted

RECORDS = Path(__file__).parents[3] / "results" / "nano" / "records"
SCALE, SEEDS = PRESETS["nano"].scale, (0, 1, 2)
HALVES = ("accuracy", "completeness")


class Spread:
    """A metric's mean and standard deviations of seeds, scenes and the rest, of what one row has and the others do not."""

    def __init__(self, values):  # (rows, seeds, scenes)
        rows, seeds, scenes = values.shape
        self.mean, self.scenes = values.mean(), scenes
        own = (values - values.mean(axis=0)) * math.sqrt(rows / (rows - 1))
        own = own - own.mean(axis=(1, 2), keepdims=True)
        by_seed, by_scene = own.mean(axis=2, keepdims=True), own.mean(axis=1, keepdims=True)
        rest = np.sum((own - by_seed - by_scene) ** 2) / (rows * (seeds - 1) * (scenes - 1))
        of_seeds = scenes * np.sum(by_seed**2) / (rows * (seeds - 1))
        of_scenes = seeds * np.sum(by_scene**2) / (rows * (scenes - 1))
        self.seed = math.sqrt(max(of_seeds - rest, 0) / scenes)
        self.scene = math.sqrt(max(of_scenes - rest, 0) / seeds)
        self.rest = math.sqrt(rest)

    def draw(self, rng, trained):
        """(seeds, scenes) of a row; one that is not trained is the same for every seed."""
        seeds = len(SEEDS)
        scene = self.scene * rng.normal(size=(1, self.scenes)) + np.zeros((seeds, 1))
        if not trained:
            return self.mean + scene
        return self.mean + scene + self.seed * rng.normal(size=(seeds, 1)) + self.rest * rng.normal(size=scene.shape)


def spreads(table):
    found = {}
    for split, metrics in table.tests:
        rows = []
        for row in table.rows:
            runs = [run_of(row, table, SCALE, seed) for seed in SEEDS] if row.method else []
            records = [read(record_file(RECORDS, run), RunRecord) for run in runs]
            if records and all(records):
                rows.append([record.tests[split] for record in records if record])
        for metric in metrics:
            if metric in rows[0][0]["scene_0000"]:
                values = [[[scene[metric] for scene in test.values()] for test in row] for row in rows]
                found[split, metric] = Spread(np.array(values))
    return found


def decided(name, draws, better=None, share=0.0):
    """Share of comparisons below 0.05 as they are, of those that are decided, and of tables with a decision.

    Nothing differs, but that ``better``, a row, is by ``share`` better in accuracy and completeness.
    """
    table = TABLES[name]
    known = spreads(table)
    rows = dict.fromkeys(row for claim in CLAIMS if claim.table == name for row in (claim.first, claim.second))
    rng = np.random.default_rng(5)
    alone, after = [], []
    for _ in range(draws):
        records = {}
        for row in rows:
            drawn = {key: spread.draw(rng, bool(row.method)) for key, spread in known.items()}
            if row == better:
                drawn = {
                    (split, metric): values * (1 - share) if metric in HALVES else values
                    for (split, metric), values in drawn.items()
                }
            for i, seed in enumerate(SEEDS):
                run = run_of(row, table, SCALE, seed)
                tests = {}
                for (split, metric), values in drawn.items():
                    for scene, value in enumerate(values[i]):
                        tests.setdefault(split, {}).setdefault(f"{scene:02}", {})[metric] = float(value)
                records[run] = planted.record(run, 1.0, tests=tests)
        findings = examine(SCALE, SEEDS, records, [name])
        if better is not None:
            findings = [each for each in findings if better == each.claim.first and each.metric in HALVES]
        assert findings and min(each.compared for each in findings) > 30
        alone.append(np.mean([each.p is not None and each.p < 0.05 for each in findings]))
        after.append(np.mean([each.decided for each in findings]))
    return np.mean(alone), np.mean(after), np.mean(np.array(after) > 0)


@pytest.mark.parametrize(
    ("name", "draws"),
    [("2", 30), *(pytest.param(name, 400, marks=pytest.mark.slow) for name in ("1", "2"))],
)
def test_where_nothing_differs_little_is_decided(name, draws):
    alone, after, tables = decided(name, draws)
    assert alone <= 0.06  # Satterthwaite's is an approximation; what counts comes after the correction:
    assert after <= 0.005 and tables <= 0.05


def test_a_large_difference_is_found():
    _, after, _ = decided("2", 20, CLAIMS[5].first, 0.4)
    assert after > 0.5
