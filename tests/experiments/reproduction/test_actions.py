"""What comes next, state by state, without doing any of it."""

import pytest

from experiments.reproduction.actions import MakeRecord, PlanState, TryRate
from experiments.reproduction.plan import Search
from tests.experiments.reproduction.planted import plan

PLAN = plan("3")
RUNS = PLAN.runs
FULL, LORA = Search("glass", "full"), Search("glass", "lora")


def begin_all(state):
    """Everything that can begin before anything ends."""
    actions = []
    while (action := state.next_action) is not None:
        actions.append(action)
        state = state.begun(action)
    return state, actions


def test_runs_wait_for_their_rate_and_nothing_else_does():
    state, actions = begin_all(PlanState.at_first(PLAN, [], {}))
    assert actions[:2] == [MakeRecord(run, None) for run in RUNS[:2]]  # the base model, and a constant depth
    assert actions[2:5] == [TryRate(FULL, RUNS[2], rate) for rate in (1e-4, 5e-4, 2.5e-3)]
    assert len(actions) == 2 + 5 * 3 and state.waiting == tuple(RUNS[2:])


def test_states_are_not_changed_by_what_follows():
    first = PlanState.at_first(PLAN, [], {})
    begin_all(first)
    assert first == PlanState.at_first(PLAN, [], {}) and first.next_action == MakeRecord(RUNS[0], None)


def test_what_has_a_record_or_a_rate_is_not_done_again():
    state = PlanState.at_first(PLAN, RUNS[:3], {LORA: 1e-3})
    assert state.next_action == MakeRecord(RUNS[3], 1e-3)
    assert FULL not in state.searches and LORA not in state.searches


@pytest.mark.parametrize(("losses", "chosen"), [((3, 1, 2), 5e-4), ((1, 2, 3), None)])
def test_a_run_follows_its_search(losses, chosen):
    state, actions = begin_all(PlanState.at_first(PLAN, [], {}))
    for action, loss in zip(actions[2:5], losses, strict=True):
        assert state.next_action is None
        state = state.tried(action, loss)
    if chosen is not None:
        assert state.next_action == MakeRecord(RUNS[2], chosen) and state.begun(state.next_action).next_action is None
        return
    assert state.next_action == TryRate(FULL, RUNS[2], 2e-5)
    state = state.begun(state.next_action).tried(state.next_action, 2)
    assert state.next_action == MakeRecord(RUNS[2], 1e-4)


def test_the_search_that_went_on_last_tries_its_rate_first():
    state, actions = begin_all(PlanState.at_first(PLAN, [], {}))
    assert {action.search for action in actions[2:8]} == {FULL, LORA}
    for action, loss in zip(actions[2:8], (1, 2, 3, 3, 2, 1), strict=True):
        state = state.tried(action, loss)
    assert state.next_action == TryRate(LORA, RUNS[3], 1.25e-2)
    assert state.begun(state.next_action).next_action == TryRate(FULL, RUNS[2], 2e-5)
