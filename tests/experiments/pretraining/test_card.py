import json
from dataclasses import replace

import jax.numpy as jnp
import jinja2
import numpy as np
import pytest
from flax import nnx

from experiments.pretraining import card
from experiments.pretraining.initial import initial_model
from tests.experiments.pretraining import small
from vggt_jax.matching import Matcher
from weights_convert import load_vggt
from weights_convert.matcher import load_matcher

METRICS = {
    "abs_rel": 0.123, "delta": 0.456, "rotation": 7.8, "direction": 33.3, "matched": 0.61, "matched_encoder": 0.52,
    "matched_in_place": 0.19, "correlation_pitch": 0.71, "correlation_yaw": 0.05, "correlation_roll": -0.2,
}  # fmt: skip
EVALUATIONS = {
    "boxes": {
        "model": METRICS,
        "solved": {**METRICS, "rotation": 5.6, "direction": 28.9, "correlation_yaw": 0.83},
        "mean_depth": {**METRICS, "abs_rel": 0.408},
        "constant": METRICS,
    }
}
MATCHER = Matcher(jnp.ones((4, 3)), jnp.zeros(()), layer=1)
DATA = [
    {
        "name": "boxes", "scenes": 4, "held_out": 1, "views": 6, "resolution": 16, "renderer": "exact",
        "sha256": "0123456789abcdef" * 4,
    }
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "nano"
    recipe = small.recipe()
    model = initial_model(recipe.config, 0)
    size = card.write_model(folder, model, MATCHER, recipe, DATA, EVALUATIONS, "matching")
    return folder, model, size


def test_the_folder_is_a_model_that_loads(written):
    folder, model, size = written
    loaded = load_vggt(folder)
    assert loaded.config == small.recipe().config
    for (keys, mine), (_, theirs) in zip(
        nnx.to_flat_state(nnx.state(model)), nnx.to_flat_state(nnx.state(loaded)), strict=True
    ):
        np.testing.assert_array_equal(mine[...], theirs[...], err_msg=str(keys))
    assert size == sum(4 * leaf[...].size for _, leaf in nnx.to_flat_state(nnx.state(model)))
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors",
        "matcher.safetensors",
        "config.json",
        "README.md",
        "evaluation.json",
    }
    assert not [path for path in folder.parent.iterdir() if path != folder]
    np.testing.assert_array_equal(load_matcher(folder).kernel, MATCHER.kernel)


def test_the_card_has_the_runs_numbers(written):
    text = (written[0] / "README.md").read_text()
    for number in (
        "0.123",
        "0.408",
        "0.456",
        "7.8°",
        "33.3°",
        "0.71, 0.05, -0.20",
        "| 5.6° | 28.9° | 0.71, 0.83, -0.20 |",
        "61 %",
        "19 %",
        "`0123456789abcdef`",
    ):
        assert number in text
    assert f"{written[2] // 4:,} parameters" in text and "16×16" in text
    assert "does not see the turn" in text  # 7.8° in place of 7.8°
    assert "What the ingredients bring" not in text and "{" not in text and "nan" not in text


def test_what_the_card_does_not_know_it_does_not_make_up():
    recipe = small.recipe()
    for incomplete in ([{"name": "boxes"}], DATA):
        evaluations = EVALUATIONS if incomplete is not DATA else {"boxes": {"model": METRICS}}
        with pytest.raises(jinja2.UndefinedError):
            card.render_card(recipe, incomplete, evaluations, [], 1)


def test_ablations_are_read_back(written):
    ablation = card.read_ablation(written[0])
    assert ablation.description == "without matching, 4 steps" and ablation.evaluations == EVALUATIONS
    text = card.render_card(replace(small.recipe(), augmentation=None), DATA, EVALUATIONS, [ablation], 1)
    assert "| without matching, 4 steps | boxes | 0.123 | 0.456 | 7.8° | 33.3° | 61 % |" in text
    assert "mirrored" not in text
    seeing = {"boxes": {**EVALUATIONS["boxes"], "mean_depth": {**METRICS, "rotation": 20.0}}}
    assert "does not see the turn" not in card.render_card(small.recipe(), DATA, seeing, [], 1)


def test_another_evaluation_is_refused(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps({"recipe": []}))
    with pytest.raises(ValueError, match=r"evaluation\.json: not an evaluation of experiments\.pretrain"):
        card.read_ablation(tmp_path)


def test_nothing_is_overwritten(written):
    with pytest.raises(FileExistsError, match="exists already"):
        card.write_model(written[0], written[1], MATCHER, small.recipe(), DATA, EVALUATIONS, None)
