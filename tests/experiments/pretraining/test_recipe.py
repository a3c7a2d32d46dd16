import dataclasses
import json
from dataclasses import replace

import pytest

from experiments.pretraining.recipe import nano, orbits
from experiments.pretraining.run import scenes_of
from experiments.pretraining.settings import INGREDIENTS
from experiments.scenes.schema import Setting
from subspace.errors import InputError
from tests.experiments.pretraining import small
from tests.experiments.training.rates import learning_rate


def test_the_base_learns_to_match_before_it_learns_everything():
    matching, jointly = nano().stages
    assert matching.objective.match > 0 and matching.objective.supervised.depth is None
    assert {"aggregator", "camera_head", "depth_head"} == set(jointly.parts)
    assert matching.turns[0] < matching.turns[1]
    assert all(stage.images % views == 0 for stage in nano().stages for views in stage.views)


def test_each_stage_has_its_own_schedule():
    for stage in nano().stages:
        rate = learning_rate(stage.optimizer)
        assert float(rate(0)) == pytest.approx(stage.end_rate, rel=1e-4)
        assert float(rate(round(stage.warmup * stage.steps))) == pytest.approx(stage.peak_rate, rel=1e-4)
        assert float(rate(stage.steps)) == pytest.approx(stage.end_rate, rel=1e-4)


def test_length_multiplies_the_steps_of_every_stage():
    full, short = nano(), nano().scaled(0.1)
    assert [s.steps for s in short.stages] == [round(0.1 * s.steps) for s in full.stages]
    assert all(stage.steps == 1 for stage in full.scaled(1e-9).stages)
    with pytest.raises(ValueError, match="length must be positive, got 0"):
        full.scaled(0)


def test_ablations_leave_out_one_thing_and_keep_the_steps():
    recipe = nano()
    for ingredient in set(INGREDIENTS) - {"motion", "start"}:
        assert [s.steps for s in recipe.without(ingredient).stages] == [s.steps for s in recipe.stages]
        assert recipe.without(ingredient) != recipe
    assert all(stage.objective.match == 0 for stage in recipe.without("matching").stages)
    assert all(stage.objective.token_points == 0 for stage in recipe.without("token_points").stages)
    assert all(stage.turns[0] == stage.turns[1] for stage in recipe.without("widening").stages)
    assert recipe.without("augmentation").augmentation is None
    assert {stage.objective for stage in recipe.without("stages").stages} == {recipe.stages[-1].objective}
    assert {stage.parts for stage in recipe.without("stages").stages} == {recipe.stages[-1].parts}


def test_a_recipe_is_json():
    stored = nano().to_dict()
    assert json.loads(json.dumps(stored)) == stored
    assert stored.keys() == {field.name for field in dataclasses.fields(nano())} - {"start", "validate_every"}
    assert "motion" not in stored["stages"][0]["objective"]  # what came later does not stop a run of before
    later = orbits().to_dict()
    assert later["start"] == "nano" and later["stages"][0]["objective"]["motion"] == 1
    assert nano().reads_motion is False and orbits().reads_motion is True


def test_orbits_go_on_from_nano_with_pairs_from_small_turns_to_large_ones():
    recipe = orbits()
    turns = [turn for stage in recipe.stages for turn in stage.turns]
    assert recipe.start == "nano" and turns == sorted(turns) and turns[0] < turns[-1]
    assert recipe.without("start").start is None
    assert all(stage.objective.motion == 0 for stage in recipe.without("motion").stages)
    pictures = [sum(stage.steps * stage.images for stage in each.stages) for each in (recipe, nano())]
    assert pictures[0] > pictures[1]


def test_what_a_recipe_does_not_have_cannot_be_left_out():
    for ingredient in ("motion", "start"):
        with pytest.raises(ValueError, match=f"without={ingredient}: the recipe does not have it"):
            nano().without(ingredient)


def test_a_stage_draws_from_the_data_of_its_setting():
    near, far, jointly = orbits().stages
    assert far.setting == "object_centric" and near.setting is jointly.setting is None
    named: list[tuple[str, Setting | None]] = [
        ("objects", "object_centric"),
        ("rooms", "micro_baseline"),
        ("heads", None),
    ]
    everything = [replace(small.source(1, name), setting=setting) for name, setting in named]
    assert scenes_of(far, everything) == everything[0].scenes
    assert scenes_of(jointly, everything) == [scene for source in everything for scene in source.scenes]
    orbits().check_settings([source.setting for source in everything])
    with pytest.raises(InputError, match="the stage far needs a data set of the setting object_centric") as error:
        orbits().check_settings([source.setting for source in everything[1:]])
    assert error.value.argument == "data"
