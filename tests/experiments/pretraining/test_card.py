import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import jinja2
import numpy as np
import pytest
from flax import nnx

from experiments.pretraining import card
from experiments.pretraining.initial import initial_model, read_start
from subspace.errors import InputError
from tests.experiments.pretraining import small
from vggt_jax.matching import Matcher
from weights_convert import load_vggt
from weights_convert.matcher import load_matcher
from weights_convert.sources import SHIPPED, shipped_models

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
    folder.mkdir()
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
    assert {path.name for path in folder.iterdir()} == card.OUTPUTS
    assert {"weights.safetensors", "matcher.safetensors", "config.json", "README.md", "evaluation.json"} == card.OUTPUTS
    np.testing.assert_array_equal(load_matcher(folder).kernel, MATCHER.kernel)


def test_training_can_go_on_from_what_was_written_and_from_nothing_of_another_size(written):
    folder, model, _ = written
    begun = read_start(str(folder), small.recipe().config)
    for mine, theirs in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(begun.model)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(begun.matcher.kernel, MATCHER.kernel)
    assert begun.digest == read_start(str(folder), small.recipe().config).digest
    other = replace(small.recipe().config, width=2 * small.recipe().config.width)
    with pytest.raises(InputError, match="has another width than the recipe's model") as error:
        read_start(str(folder), other)
    assert error.value.argument == "start"


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


def test_what_the_card_does_not_know_it_does_not_make_up(written):
    record = card.read_record(written[0])
    for incomplete in (
        replace(record, data=[{"name": "boxes"}]),
        replace(record, evaluations={"boxes": {"model": METRICS}}),
    ):
        with pytest.raises(jinja2.UndefinedError):
            incomplete.card()


def test_the_record_is_read_back_and_makes_the_same_card(written):
    record = card.read_record(written[0])
    assert record.evaluations == EVALUATIONS and record.data == DATA and record.without == "matching"
    assert record.card() == (written[0] / "README.md").read_text()
    assert "half of the scenes mirrored" in record.card()
    assert "mirrored" not in replace(record, recipe={**record.recipe, "augmentation": None}).card()
    seeing = {"boxes": {**EVALUATIONS["boxes"], "mean_depth": {**METRICS, "rotation": 20.0}}}
    assert "does not see the turn" not in replace(record, evaluations=seeing).card()


def test_runs_are_compared_in_the_card_of_a_finished_one(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "base")
    before = card.read_record(tmp_path / "base")
    other = json.loads((written[0] / "evaluation.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "evaluation.json").write_text(json.dumps({**other, "without": None}))
    for folder in (written[0], tmp_path / "other", written[0]):  # the last one takes the first one's place
        card.compare(tmp_path / "base", [folder])
    after = card.read_record(tmp_path / "base")
    assert after.ablations == [card.Ablation(name, 4, 3, EVALUATIONS) for name in ("matching", None)]
    assert replace(after, ablations=before.ablations) == before
    text = (tmp_path / "base" / "README.md").read_text()
    assert "| all ingredients | 4 | 3 | 0.123" in text and text.count("**boxes**") == 2
    assert "| without matching | 4 | 3 | 0.123 | 0.456 | 7.8° | 5.6° | 0.05 | 61 % |" in text
    assert "| mean depth map, no turn, same position | | | 0.408 | 0.456 | 7.8° | | | 19 % |" in text
    assert text.startswith((written[0] / "README.md").read_text().rstrip())


def test_a_run_that_cannot_be_compared_leaves_the_card_alone(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "base")
    with pytest.raises(OSError, match=r"absent/evaluation\.json"):
        card.compare(tmp_path / "base", [written[0], tmp_path / "absent"])
    assert (tmp_path / "base" / "README.md").read_text() == (written[0] / "README.md").read_text()


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_card_is_that_of_its_record(name):
    shipped = card.read_record(SHIPPED / name)
    assert shipped.card() == (SHIPPED / name / "README.md").read_text()


def test_nano_2_is_better_than_nano_where_its_data_are():
    """Of the record: the page about the models says so."""
    found = card.read_record(SHIPPED / "nano_2").evaluations
    around = [each for name, each in found.items() if name.startswith("mixed object_centric")]
    assert len(around) == 6
    for metric, largest in (("rotation", 15), ("direction", 40)):
        errors, guesses = (np.mean([each[who][metric] for each in around]) for who in ("model", "mean_depth"))
        assert errors < largest < guesses


def test_another_evaluation_is_refused(tmp_path):
    for record in ({"recipe": []}, []):
        (tmp_path / "evaluation.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"evaluation\.json: not an evaluation of experiments\.pretrain"):
            card.read_record(tmp_path)
