"""What a seed changes, on planted figures."""

import numpy as np
import pytest

from experiments.reproduction.plan import run_of
from experiments.reproduction.rows import FULL, TABLES, lora
from experiments.reproduction.seed_effects import seed_effects
from experiments.reproduction.tables import measure
from tests.experiments.reproduction.planted import plan, record

LEVELS = {FULL: (1.0, 1.2, 1.1), lora(16): (2.0, 2.2, 2.1)}


def effects(levels, seeds=(0, 1, 2)):
    scale, table = plan("3", seeds=seeds).scale, TABLES["3"]
    runs = {row: [run_of(row, table, scale, seed) for seed in seeds] for row in levels}
    records = {run: record(run, levels[row][i]) for row in levels for i, run in enumerate(runs[row])}
    return list(seed_effects(measure(table, scale, seeds, records)))


def test_what_is_common_leaves_differences_alone():
    found = effects(LEVELS)
    assert [effect.column.metric for effect in found] == ["accuracy", "completeness", "chamfer", "normal_consistency"]
    assert {effect.rows for effect in found} == {2}
    assert [effect.common for effect in found] == pytest.approx([1.0] * 4)
    assert [effect.apart for effect in found] == pytest.approx([0.0] * 4, abs=1e-9)
    assert found[0].alone == pytest.approx(0.1 / 1.6)


def test_what_is_not_common_is_in_the_differences():
    rng = np.random.default_rng(0)
    levels = {row: tuple(10 + rng.normal(size=3)) for row in TABLES["3"].rows if row.method}
    values = np.array(list(levels.values()))
    (first, *_) = effects(levels)
    pairs = [(a, b) for b in range(len(values)) for a in range(b)]
    expected = np.mean([np.corrcoef(values[a], values[b])[0, 1] for a, b in pairs])
    assert first.common == pytest.approx(expected)
    variance = np.mean([np.var(values[a] - values[b], ddof=1) for a, b in pairs])
    assert first.apart == pytest.approx(np.sqrt(variance) / values.mean())


def test_two_seeds_or_one_row_say_nothing():
    assert effects(LEVELS, (0, 1)) == [] == effects({FULL: (1.0, 1.2, 1.1)})


def test_a_figure_that_no_seed_changes_has_no_effect():
    assert effects({FULL: (1.0, 1.0, 1.0), lora(16): (2.0, 2.2, 2.1)}) == []
