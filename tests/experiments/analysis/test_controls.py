"""What remains of drop and overlap under controls, on adapters in which both are planted."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.angles import measure_angles
from experiments.analysis.conditions import Condition, read_controls
from experiments.analysis.controls import (
    control_rows,
    control_summary,
    drops_at_rank,
    measure_controls,
    overlap_rows,
    overlap_summary,
    surviving,
)
from experiments.analysis.verdict import judge
from experiments.mining.folder import read_folder, read_inputs
from subspace import spectral_pattern
from tests.experiments.analysis.planted import BASE, draw_adapters, draw_subspaces, write_run
from vggt_jax.adapters import BaseModel

NAMES = ("geometry", "texture")
SHAPES = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64), "camera_head.trunk.mlp.fc1": ((2,), 80, 48)}
SHARED = {"init": "shared", "targets": "true"}
INDEPENDENT, SHUFFLED = Condition("independent", "true"), Condition("shared", "shuffled")

OTHER = BaseModel("other", "f" * 16, BASE.config)


def _run(folder, name, seed, common_input=None, **facts):
    adapters = draw_adapters(
        seed, draw_subspaces(10 + seed, shapes=SHAPES), k=4, shapes=SHAPES, common_input=common_input
    )
    return write_run(folder, name, adapters, **facts)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs whose adapters share one random input factor, and the same with independent ones; geometry once more as it is."""
    folder = tmp_path_factory.mktemp("controls")
    found = {name: _run(folder / name, name, i, common_input=5, **SHARED) for i, name in enumerate(NAMES)}
    independent = {"init": "independent"}
    found |= {f"{name}_independent": _run(folder / f"{name}_i", name, i, **independent) for i, name in enumerate(NAMES)}
    found["again"] = _run(folder / "again", "geometry", 0, common_input=5, **{**SHARED, "targets": "shuffled"})
    return found


@pytest.fixture(scope="module")
def numbers(folders):
    inputs = read_inputs([folders[name] for name in NAMES])
    controls = read_controls(
        [folders[name] for name in ("geometry_independent", "texture_independent", "again")], inputs
    )
    return measure_controls(inputs, controls, measure_angles(inputs, 0))


def test_conditions_come_from_the_summaries(numbers):
    assert numbers.condition_of_main == Condition("shared", "true")
    assert [(c.attribute, c.condition) for c in numbers.controls] == [
        ("geometry", INDEPENDENT),
        ("texture", INDEPENDENT),
        ("geometry", SHUFFLED),
    ]
    assert list(numbers.overlaps) == [INDEPENDENT] and numbers.conditions == [INDEPENDENT, SHUFFLED]


def test_a_drop_of_a_shared_draw_does_not_survive_independent_ones(numbers):
    for control in numbers.controls[:2]:
        assert (control.drops[:, 0] > 1).all()  # one input factor: C has rank r
        assert (control.drops[:, 1] < 0.5 * control.drops[:, 0]).all()
    again = numbers.controls[2]
    np.testing.assert_allclose(again.drops[:, 0], again.drops[:, 1])
    for side in ("output", "input"):
        np.testing.assert_allclose(again.with_main[side], 1, atol=1e-4)
    assert again.captured.shape == (4,) and again.captured.min() > 0.8


def test_overlap_on_the_input_side_does_not_survive(numbers):
    found = numbers.overlaps[INDEPENDENT]
    assert found.pairs == [("geometry", "texture")]
    assert (found.main["input"] > 0.99).all() and (found.controls["input"] < 0.3).all()
    assert (found.main["output"] < 0.3).all()
    row = next(row for row in overlap_summary(numbers) if row.side == "input")
    chance = np.array([4 / 64] * 3 + [4 / 48] * 2)[:, None]
    assert row.times_chance == pytest.approx(np.median(found.main["input"] / chance))
    excess = [np.sum(each["input"] - chance) for each in (found.controls, found.main)]
    assert row.remains == pytest.approx(excess[0] / excess[1]) and excess[0] / excess[1] < 0.2
    rows = [row for row in overlap_rows(numbers) if row.side == "input"]
    i = 3
    expected = (found.controls["input"][i, 0] - chance[i, 0]) / (found.main["input"][i, 0] - chance[i, 0])
    assert rows[i].remains == pytest.approx(expected)


def test_where_every_subspace_is_the_whole_space_there_is_nothing_to_remain(numbers):
    found = numbers.overlaps[INDEPENDENT]
    whole = replace(
        numbers,
        chance={side: np.ones(5) for side in numbers.chance},
        overlaps={
            INDEPENDENT: replace(found, main={side: np.ones((5, 1)) + 1e-7 for side in found.main}),
        },
    )
    assert [row.remains for row in overlap_summary(whole)] == [None, None]
    assert {row.remains for row in overlap_rows(whole)} == {None}


def test_drops_are_those_of_the_pattern(folders):
    mined = read_folder(folders["geometry_independent"])
    found = drops_at_rank(mined)
    path = "camera_head.trunk.mlp.fc1"
    for layer in range(2):
        pattern = spectral_pattern(mined.statistics[path]["initial_singular_values"][layer], 4)
        assert found[3 + layer] == pytest.approx(float(pattern.sizes[0]))


def test_what_remains_of_nothing_is_undefined():
    np.testing.assert_array_equal(surviving(np.array([2.0, 0.0]), np.array([1.0, 1.0])), [0.5, np.nan])


def test_rows_and_summary(numbers):
    rows = control_rows(numbers)
    assert len(rows) == 3 * 5 and rows[-1].remains == pytest.approx(1)
    assert len(overlap_rows(numbers)) == 2 * 5
    summary = control_summary(numbers)
    assert [row.drops for row in summary] == [5, 5, 5] and summary[2].remains == pytest.approx(1)


def test_the_verdict_counts_the_drops_of_every_condition(numbers, folders):
    angles = measure_angles(read_inputs([folders[name] for name in NAMES]), 0)
    in_control = int(np.count_nonzero(np.concatenate([control.drops[:, 1] for control in numbers.controls[:2]])))
    independent, shuffled = judge(angles, controls=numbers).controls
    assert (independent.condition, independent.spectra, independent.drops) == (INDEPENDENT, 10, 10)
    assert independent.control_drops == in_control
    assert (shuffled.condition, shuffled.spectra, shuffled.drops, shuffled.control_drops) == (SHUFFLED, 5, 5, 5)
    assert [row.side for row in independent.between] == ["output", "input"] and not shuffled.between
    assert shuffled.with_run["output"] == pytest.approx(np.median(1 / numbers.chance["output"]), rel=1e-3)
    first, *others = numbers.controls
    without_drops = replace(first, drops=first.drops * np.array([1, 0]))
    independent, _ = judge(angles, controls=replace(numbers, controls=[without_drops, *others])).controls
    assert (independent.drops, independent.control_drops) == (10, in_control - 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f, t: [f["geometry"]], "geometry is under study itself"),
        (lambda f, t: [_run(t / "x", "camera", 3)], "holds the attribute camera, under study are geometry, texture"),
        (lambda f, t: [f["again"], f["again"]], "are both geometry with shared initialisation, shuffled targets"),
        (
            lambda f, t: [write_run(t / "x", "geometry", draw_adapters(0, {}, shapes=SHAPES), base=OTHER)],
            r"the base model of .*x is other \(f+\)",
        ),
        (lambda f, t: [t / "absent"], "there is no folder"),
    ],
)
def test_controls_that_do_not_belong_here(make, message, folders, tmp_path):
    inputs = read_inputs([folders[name] for name in NAMES])
    with pytest.raises(ValueError, match=message) as error:
        read_controls(make(folders, tmp_path), inputs)
    assert "\n" not in str(error.value)


def test_another_run_under_the_same_condition_says_so(folders, tmp_path):
    inputs = read_inputs([folders[name] for name in NAMES])
    other = _run(tmp_path / "seed", "geometry", 0, common_input=6, **SHARED)
    assert list(read_controls([other], inputs)) == [Condition("shared", "true", again=True)]
