"""Records of runs that never ran, with figures that are chosen."""

import numpy as np

from experiments.evaluation.results import METRICS
from experiments.presets import PRESETS
from experiments.reproduction.data_sheets import DataSheet, FirstView
from experiments.reproduction.plan import make_plan
from experiments.reproduction.records import RunRecord

SCENES = [f"scene_{i:04d}" for i in range(12)]


def plan(*tables, seeds=(0,), preset="nano"):
    return make_plan(tables, seeds, PRESETS[preset].scale)


def record(run, level, splits=("test", "cross_domain"), noise=0.0, parameters=1000, seconds=60.0, tests=None, loss=0.2):
    """All figures of scene i are ``level`` (1 + i / 100), but for seeds' noise, unless ``tests`` says more."""
    rng = np.random.default_rng(run.seed)
    draws = 1 + noise * rng.standard_normal(len(SCENES))
    scenes = {
        name: {metric.name: float(level * (1 + i / 100) * draws[i]) for metric in METRICS}
        for i, name in enumerate(SCENES)
    }
    return RunRecord(
        run=run, sizes={}, base="nano (ab)", commit="c0ffee", parameters=parameters, rate=1e-3, steps=100,
        training_seconds=seconds, evaluation_seconds=1.0, data={}, details={}, validation={"before": 0.3, "after": loss},
        tests={split: scenes for split in splits} if tests is None else tests,
    )  # fmt: skip


def sheet(*hashes, depth=2.0, scenes=2, **settings):
    """Of scenes that differ from one another in the second one's depth."""
    return DataSheet(
        sha256=hashes,
        settings={"views": 8, **settings},
        scenes={
            name: FirstView(valid=0.5, depth=depth if i == 1 else 3.0, color=(0.2, 0.3, 0.4))
            for i, name in enumerate(SCENES[:scenes])
        },
    )
