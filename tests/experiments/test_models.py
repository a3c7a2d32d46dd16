import jax
import pytest

from experiments.evaluation.predictions import Model
from experiments.models import load_base, read_base
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
