import threading

import pytest

from experiments.training.input_pipeline import prefetched


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order(threads):
    with prefetched(lambda step: step**2, 3, 20, threads=threads, ahead=4) as batches:
        assert list(batches) == [step**2 for step in range(3, 20)]


def test_nothing_left_to_do():
    with prefetched(lambda step: step, 5, 5) as batches:
        assert list(batches) == []


def test_prepared_ahead_but_not_all_at_once():
    made, enough = [], threading.Event()

    def make(step):
        made.append(step)
        if len(made) == 3:
            enough.set()
        return step

    with prefetched(make, 0, 1000, ahead=3) as batches:
        next(batches)
        assert enough.wait(10)
    assert len(made) < 20


def test_what_the_loader_raises_arrives():
    def make(step):
        if step == 2:
            raise ValueError("scene_0007: view 3 is damaged")
        return step

    with prefetched(make, 0, 5) as batches, pytest.raises(ValueError, match="scene_0007: view 3 is damaged"):
        list(batches)
