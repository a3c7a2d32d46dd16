import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.evaluation.predictions import Model
from experiments.models import first_not_finite, load_base, parameters_digest, read_base
from tests.experiments.finetuning import small


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The folder that full fine-tuning leaves, before the first step."""
    folder = tmp_path_factory.mktemp("run")
    settings = small.settings("full", folder, matrices=("aggregator.*",))
    trainable = settings.method.trainable(small.base(), settings)
    return trainable.write(folder, jax.tree.map(lambda leaf: leaf[0], trainable.params), {"method": "full"})


def test_training_and_evaluation_name_the_same_base(tuned):
    bases = [read_base(str(tuned)), load_base(str(tuned), small.RESOLUTION, small.PRESET)]
    identities = [base.identity for base in bases] + [Model(str(tuned)).identity]
    assert {found.name for found in identities} == {"model"}
    assert {found.fingerprint for found in identities} == {small.base().identity.fingerprint}
    assert bases[0].label == f"model ({identities[0].fingerprint})"
    assert bases[0].config.heads == ("camera", "depth")


def test_weights_that_do_not_exist_and_pictures_that_do_not_fit(tuned, tmp_path):
    with pytest.raises((ValueError, OSError), match="missing"):
        read_base(str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="patches of 4 pixels do not divide images of 18 pixels"):
        load_base(str(tuned), 18, small.PRESET)


def test_models_that_differ_in_a_head_or_in_single_columns_are_told_apart(tuned):
    base = read_base(str(tuned))
    leaves = dict(nnx.to_flat_state(base.parameters))
    (head,) = [keys for keys in leaves if ".".join(map(str, keys)) == "camera_head.pose_branch.fc2.kernel"]
    qkv = next(keys for keys in leaves if ".".join(map(str, keys)) == "aggregator.frame_blocks.attn.qkv.kernel")
    other_head = leaves[head].replace(2 * leaves[head][...])
    most_columns = np.array(leaves[qkv][...])
    most_columns[..., 1:-1] *= -3
    for keys, leaf in ((head, other_head), (qkv, leaves[qkv].replace(jnp.asarray(most_columns)))):
        changed = nnx.from_flat_state({**leaves, keys: leaf}.items())
        assert parameters_digest(changed) != base.weights == parameters_digest(base.parameters)


def test_kernels_in_the_type_of_their_products_are_of_the_same_model(tuned):
    exact, rounded = (read_base(str(tuned), "bfloat16", for_products=each) for each in (False, True))
    types = [{leaf.dtype for leaf in jax.tree.leaves(base.parameters)} for base in (exact, rounded)]
    assert types[0] != types[1] and exact.weights == rounded.weights


def test_the_first_parameter_that_is_not_finite_is_named():
    good, bad = np.ones(3, np.float32), np.array([1, np.nan], np.float32)
    assert first_not_finite({"a": {"x": good}, "b": good}) is None
    assert first_not_finite({"a": {"x": good}, "b": {"y": bad, "z": bad}}) == "b.y"
