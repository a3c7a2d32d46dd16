"""What training leaves is checked on held-out scenes: losses are finite, and scenes are told apart."""

import numpy as np
import pytest

from experiments.training.held_out import check_base, check_trained
from experiments.training.held_out_errors import MEAN_DEPTH
from experiments.training.loop import Diverged
from subspace.errors import InputError

SCENES = [["a/0", "a/1", "a/2"], ["b/0", "b/1", "b/2"]]
"""Of two adapters."""
DEPTHS = np.array([[0.9, 1.0, 1.1], [0.8, 1.0, 1.0]])


def measured(depths=DEPTHS, losses=None):
    return {"loss": np.ones((2, 3)) if losses is None else losses, MEAN_DEPTH: depths}


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_the_first_scene_whose_loss_is_not_finite_is_named(loss):
    losses = np.ones((2, 3))
    losses[1, 1:] = loss
    wrong = measured(losses=losses)
    with pytest.raises(InputError, match=f"^b/1: the base model's loss on this held-out scene is {loss}$") as error:
        check_base(wrong, SCENES)
    assert not isinstance(error.value, Diverged)
    with pytest.raises(Diverged, match=f"the held-out scene b/1 is {loss}; a lower learning rate may help$"):
        check_trained(measured(), wrong, SCENES)
    check_base(measured(), SCENES)
    check_trained(measured(), measured(), SCENES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("depths", [[0.7, 0.7 * (1 + 1e-6), 0.7], [0.0, 0.0, 0.0]])
def test_a_model_that_no_longer_sees_what_it_is_shown_has_diverged(depths):
    one_collapsed = np.array([DEPTHS[0], depths])
    with pytest.raises(Diverged, match="the same depth is predicted of every held-out scene"):
        check_trained(measured(), measured(one_collapsed), SCENES)
    check_trained(measured(), measured(0.001 * DEPTHS), SCENES)  # a scale says nothing
    check_trained(measured(one_collapsed), measured(one_collapsed), SCENES)  # neither did the base model
    two = {name: values[:, :1] for name, values in measured(one_collapsed).items()}
    check_trained(two, two, [names[:1] for names in SCENES])  # one scene cannot be told from others
    check_trained({"loss": np.ones((2, 3))}, {"loss": np.ones((2, 3))}, SCENES)  # a model without depth
