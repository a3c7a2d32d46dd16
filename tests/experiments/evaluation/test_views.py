import numpy as np
import pytest

from experiments.evaluation.views import choose_views, view_lists
from experiments.presets import PRESETS


def test_committed_lists_fit_their_scenes_and_are_told_apart_by_size():
    lists = view_lists()
    defaults = [(found.of, task) for found in lists.values() if found.default for task in found.tasks or (None,)]
    assert len(set(defaults)) == len(defaults)
    for name, found in lists.items():
        assert choose_views(name, found.of) == found.views
        for task in found.tasks or (None,):
            assert (choose_views(None, found.of, task) == found.views) is found.default
        assert found.views[0] == 0 and list(found.views) == sorted(set(found.views))
    assert lists["video"].views == tuple(range(0, 42, 6)) and len(lists["circle"].views) == 8
    assert lists["captures"].views == tuple(range(0, 42, 2)) and choose_views(None, 42) == lists["video"].views


def test_a_tasks_own_list_comes_first_and_any_other_task_takes_the_one_for_all():
    assert choose_views(None, 8, "humans") == tuple(range(8)) != choose_views(None, 8, "faces") == choose_views(None, 8)
    assert choose_views(None, 42, "faces") == choose_views("video", 42)
    with pytest.raises(ValueError, match="no list"):
        choose_views(None, 7)


@pytest.mark.parametrize("name", ["nano", "vggt_1b"])
def test_lists_of_the_presets_are_the_sequences_that_are_held_out(name):
    preset = PRESETS[name]
    expected = np.linspace(0, preset.rendering.views, preset.training.held_out_views, endpoint=False).astype(int)
    assert view_lists()[name].of == preset.rendering.views and view_lists()[name].views == tuple(expected)


def test_numbers_keep_their_order():
    assert choose_views("5,0,2", 6) == (5, 0, 2)


@pytest.mark.parametrize(
    ("asked_for", "count", "message"),
    [
        (None, 9, "no list of views was made for scenes with 9"),
        ("circle", 8, "views 0 to 7, not 12"),
        ("0,9", 9, "views 0 to 8, not 9"),
        ("0,-1", 9, "not -1"),
        ("1,1", 9, "twice"),
        ("round", 9, "none of nano, eight, frames, video"),
    ],
)
def test_what_is_refused(asked_for, count, message):
    with pytest.raises(ValueError, match=message):
        choose_views(asked_for, count)
