"""A batch in parts is the batch; on several devices it is compared in ``test_sharding``."""

import jax
import numpy as np
import pytest

from experiments.training.division import Division, part_size
from experiments.training.losses import Objective, RegressionLoss
from experiments.training.step import AdaptedBase, adapter_loss
from tests.experiments.training import tiny


@pytest.mark.parametrize(
    ("sequences", "accumulate", "size"),
    [(8, None, 8), (8, 1, 1), (8, 3, 2), (8, 4, 4), (8, 9, 8), (7, 3, 1), (1, 5, 1)],
)
def test_parts_are_of_one_size(sequences, accumulate, size):
    assert part_size(sequences, accumulate) == size


def test_an_undivided_loss_is_the_loss_itself():
    loss = adapter_loss(tiny.draw_base()[0], Objective())
    assert Division().of(loss) is loss


@pytest.mark.slow
def test_parts_have_the_whole_batchs_loss_and_gradient():
    """VGGT's losses choose outliers among all pixels of a batch and count its valid ones: no mean over parts is the same."""
    graphdef, base = tiny.draw_base()
    maker = tiny.make_lora(graphdef, base)
    objective = Objective(depth=RegressionLoss(valid_range=0.9))
    loss = adapter_loss(graphdef, objective)
    params = jax.tree.map(lambda leaf: leaf[0], tiny.draw_adapters(maker, 1))
    batch = jax.tree.map(lambda leaf: leaf[0], tiny.draw_batch(3, 1, 4, 2))
    frozen = AdaptedBase(base, maker)

    def found(division):
        return jax.jit(jax.value_and_grad(division.of(loss), has_aux=True))(params, frozen, batch)

    whole, parts = found(Division()), found(Division(2))
    (value, terms), _ = whole
    assert float(terms["loss_conf_depth"]) != 0
    for (path, one), other in zip(jax.tree.leaves_with_path(parts), jax.tree.leaves(whole), strict=True):
        scale = max(np.abs(other).max(), 1e-6)
        assert np.abs(one - other).max() <= 2e-5 * scale, jax.tree_util.keystr(path)
    halves = [jax.tree.map(lambda leaf, half=half: leaf[half], batch) for half in (slice(2), slice(2, 4))]
    mean = np.mean([loss(params, frozen, half)[0] for half in halves])
    assert abs(mean - value) > 1e-4 * abs(value)
