"""Full fine-tuning: which parameters are trained, and that nothing else changes."""

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.finetuning.methods.full import joined, split
from tests.experiments.finetuning import small
from vggt_jax import VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.parameters import abstract_model, by_part


@pytest.fixture(scope="module")
def base():
    return small.base()


def test_full_fine_tuning_trains_the_papers_parameters():
    _, params = nnx.split(abstract_model(VGGTConfig.vggt_1b()))
    trained, frozen = split(params, ["*"])
    sizes = {dotted(keys): int(np.prod(leaf.shape)) for keys, leaf in nnx.to_flat_state(trained)}
    assert by_part(sizes).total == sum(sizes.values()) == 853_558_516
    names = {dotted(keys) for keys, _ in nnx.to_flat_state(frozen)}
    assert all(name.startswith(("aggregator.patch_embed.", "point_head.", "track_head.")) for name in names - {
        "aggregator.camera_token", "aggregator.register_token"
    })  # fmt: skip


def test_split_parameters_join_again(base):
    trained, frozen = split(base.parameters, ["camera_head.*", "aggregator.*.kernel"])
    names = {dotted(keys) for keys, _ in nnx.to_flat_state(trained)}
    assert "aggregator.frame_blocks.mlp.fc1.kernel" in names and not any("patch_embed" in name for name in names)
    whole = joined(trained, frozen)
    assert jax.tree.structure(whole) == jax.tree.structure(base.parameters)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(base.parameters), strict=True):
        assert one is other
    with pytest.raises(
        ValueError, match=r"no parameter to fine-tune matches aggregator\.patch_embed\.\*; names are like aggregator\."
    ):
        split(base.parameters, ["camera_head.*", "aggregator.patch_embed.*"])
