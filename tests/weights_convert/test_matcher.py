import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.weights_convert.conftest import SMALL
from vggt_jax.matching import Matcher
from weights_convert.matcher import MATCHER, load_matcher, save_matcher


def test_there_and_back(official):
    matcher = Matcher(jnp.arange(12.0).reshape(4, 3), jnp.asarray(-2.5), layer=1)
    save_matcher(official / MATCHER, matcher)
    for source in (official, official / "weights.safetensors"):
        found = load_matcher(source)
        np.testing.assert_array_equal(found.kernel, matcher.kernel)
        assert found.log_temperature == -2.5 and found.layer == 1


def test_a_model_without_one():
    with pytest.raises(ValueError, match=r"vggt_small: has no matcher\.safetensors beside its weights"):
        load_matcher(SMALL)


@pytest.mark.parametrize("metadata", [None, {"layer": "first"}])
def test_a_file_without_a_layer(official, metadata):
    arrays = {"kernel": np.ones((4, 3), np.float32), "log_temperature": np.zeros((), np.float32)}
    save_file(arrays, official / MATCHER, metadata=metadata)
    with pytest.raises(ValueError, match=rf"{MATCHER}: invalid literal"):
        load_matcher(official)


def test_damaged_files(official):
    save_file({"kernel": np.ones((4, 3), np.float32)}, official / MATCHER, metadata={"layer": "1"})
    with pytest.raises(ValueError, match=rf"{MATCHER}: needs kernel .* holds kernel \(4, 3\)"):
        load_matcher(official)
    (official / MATCHER).write_bytes(b"not one")
    with pytest.raises(ValueError, match=MATCHER):
        load_matcher(official)
