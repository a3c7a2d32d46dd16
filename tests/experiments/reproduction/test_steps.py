"""What comes next, state by state, without doing any of it."""

import pytest

from experiments.reproduction.plan import Search
from experiments.reproduction.steps import MakeRecord, State, TryRate
from tests.experiments.reproduction.planted import plan

PLAN = plan("3")
RUNS = PLAN.runs
FULL, LORA = Search("glass", "full"), Search("glass", "lora")


def begin_all(state):
    """Everything that can begin before anything ends."""
    steps = []
    while (step := state.next_step) is not None:
        steps.append(step)
        state = state.begun(step)
    return state, steps


def test_runs_wait_for_their_rate_and_nothing_else_does():
    state, steps = begin_all(State.at_first(PLAN, [], {}))
    assert steps[0] == MakeRecord(RUNS[0], None)  # the base model
    assert steps[1:4] == [TryRate(FULL, RUNS[1], rate) for rate in (1e-4, 5e-4, 2.5e-3)]
    assert len(steps) == 1 + 5 * 3 and state.waiting == tuple(RUNS[1:])


def test_states_are_not_changed_by_what_follows():
    first = State.at_first(PLAN, [], {})
    begin_all(first)
    assert first == State.at_first(PLAN, [], {}) and first.next_step == MakeRecord(RUNS[0], None)


def test_what_has_a_record_or_a_rate_is_not_done_again():
    state = State.at_first(PLAN, RUNS[:2], {LORA: 1e-3})
    assert state.next_step == MakeRecord(RUNS[2], 1e-3)
    assert FULL not in state.searches and LORA not in state.searches


@pytest.mark.parametrize(("losses", "chosen"), [((3, 1, 2), 5e-4), ((1, 2, 3), None)])
def test_a_run_follows_its_search(losses, chosen):
    state, steps = begin_all(State.at_first(PLAN, [], {}))
    for step, loss in zip(steps[1:4], losses, strict=True):
        assert state.next_step is None
        state = state.tried(step, loss)
    if chosen is not None:
        assert state.next_step == MakeRecord(RUNS[1], chosen) and state.begun(state.next_step).next_step is None
        return
    assert state.next_step == TryRate(FULL, RUNS[1], 2e-5)
    state = state.begun(state.next_step).tried(state.next_step, 2)
    assert state.next_step == MakeRecord(RUNS[1], 1e-4)


def test_the_search_that_went_on_last_tries_its_rate_first():
    state, steps = begin_all(State.at_first(PLAN, [], {}))
    assert {step.search for step in steps[1:7]} == {FULL, LORA}
    for step, loss in zip(steps[1:7], (1, 2, 3, 3, 2, 1), strict=True):
        state = state.tried(step, loss)
    assert state.next_step == TryRate(LORA, RUNS[2], 1.25e-2)
    assert state.begun(state.next_step).next_step == TryRate(FULL, RUNS[1], 2e-5)
