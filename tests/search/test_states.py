"""The table of a trial's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from hpo.search.states import FINAL, NEXT, Event, IllegalTransition, State, TrialStatus, advance

ALLOWED = [
    ("WAITING", "start", "RUNNING"),
    ("RUNNING", "report", "RUNNING"),
    ("RUNNING", "lost", "WAITING"),
    ("RUNNING", "retry", "WAITING"),
    ("RUNNING", "finish", "COMPLETE"),
    ("RUNNING", "prune", "PRUNED"),
    ("RUNNING", "crash", "FAIL"),
]


def test_states_are_called_as_optuna_calls_them() -> None:
    assert {state.value for state in State} == {state.name for state in TrialState}


def test_the_table_is_this_one_and_nothing_more() -> None:
    assert sorted((s.value, e.value, n.value) for (s, e), n in NEXT.items()) == sorted(ALLOWED)


def test_final_states_are_those_that_nothing_leaves() -> None:
    assert {state.value for state in FINAL} == {"COMPLETE", "PRUNED", "FAIL"}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_change_is_either_in_the_table_or_refused_with_what_is_allowed(state: State, event: Event) -> None:
    status = TrialStatus(7, state, attempt=2)
    wanted = {(s, e): n for s, e, n in ALLOWED}.get((state.value, event.value))
    if wanted is not None:
        after = advance(status, event, "because")
        assert (after.number, after.state.value, after.reason) == (7, wanted, "because")
        return
    allowed = [e for s, e, _ in ALLOWED if s == state.value]
    with pytest.raises(IllegalTransition, match=f"trial 7 is {state}: {event} is not allowed") as refused:
        advance(status, event)
    assert all(word in str(refused.value) for word in allowed or ["nothing: it is final"])


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_one_final_state_at_most_and_the_attempt_grows_at_start_only(events: list[Event]) -> None:
    status = TrialStatus(0)
    finals = 0
    for event in events:
        try:
            after = advance(status, event)
        except IllegalTransition:
            continue
        assert after.attempt - status.attempt == (event is Event.START)
        finals += after.state in FINAL
        status = after
    assert finals <= 1
    assert status.attempt <= events.count(Event.START)
