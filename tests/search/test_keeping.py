"""Whose checkpoints are kept: the same from all trials at once and from one end after the other, whatever the order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.search.keeping import Keeping, kept_trials
from hpo.search.plan import Objective

NOON = datetime(2026, 3, 1, 12)
UP, DOWN = Objective("score", "maximize"), Objective("loss", "minimize")


def ended(number: int, value: float | None, minute: float, saved: bool = True, attempt: int = 1) -> FrozenTrial:
    """A trial that ended; COMPLETE where it has a value."""
    attrs: dict[str, Any] = {"attempt": attempt, **({"checkpoint": f"/kept/{number}"} if saved else {})}
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    trial.number, trial.datetime_complete = number, NOON + timedelta(minutes=minute)
    return trial


@pytest.mark.parametrize(
    ("keep", "objective", "kept"),
    [
        (0, UP, set()),
        (1, UP, {1, 4}),  # 1 and 3 are equally good: the lower number; 4 ended last
        (2, UP, {1, 3, 4}),
        (3, UP, {0, 1, 3, 4}),
        (1, DOWN, {2, 4}),
        (99, DOWN, {0, 1, 2, 3, 4}),
    ],
)
def test_the_best_and_the_last_are_kept(keep: int, objective: Objective, kept: set[int]) -> None:
    values = [0.5, 0.9, 0.1, 0.9, None]
    trials = [ended(number, value, number) for number, value in enumerate(values)]
    assert kept_trials(trials, keep, objective) == kept
    assert kept_trials(trials[::-1], keep, objective) == kept


def test_the_last_is_who_ended_last_not_who_started_last() -> None:
    trials = [ended(0, 0.5, 9), ended(1, 0.9, 3), ended(2, 0.1, 5)]
    assert kept_trials(trials, 1, UP) == {0, 1}


def test_trials_in_flight_are_not_its_business() -> None:
    running = create_trial(state=TrialState.RUNNING)
    running.number = 1
    waiting = create_trial(state=TrialState.WAITING)
    waiting.number = 2
    assert kept_trials([ended(0, 0.5, 1), running, waiting], 5, UP) == {0}


def test_what_goes_is_given_once_and_only_where_something_was_saved() -> None:
    keeping = Keeping(1, UP)
    keeping.hear([ended(0, 0.5, 0)])
    assert keeping.take_drop() == (), "the best and the last"
    keeping.hear([ended(1, 0.6, 1)])
    assert keeping.take_drop() == (0,)
    keeping.hear([ended(2, 0.1, 2, saved=False), ended(0, 0.5, 0)])
    keeping.hear([ended(3, None, 3)])
    assert keeping.take_drop() == (), "trial 2 left no file; of trial 0 nothing is new"
    keeping.hear([ended(4, 0.2, 4, saved=False, attempt=2), ended(5, 0.3, 5)])
    assert keeping.take_drop() == (3, 4), "an attempt that died may have saved without telling"
    assert keeping.kept == {1, 5}


def test_with_nothing_to_keep_every_end_drops_its_own() -> None:
    keeping = Keeping(0, UP)
    keeping.hear([ended(0, 0.5, 0), ended(1, None, 1)])
    assert keeping.take_drop() == (0, 1)


outcomes = st.lists(
    st.tuples(st.none() | st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.integers(0, 9), st.booleans()), max_size=25
)


@given(outcomes, st.integers(0, 4), st.sampled_from([UP, DOWN]), st.data())
def test_one_end_after_the_other_is_the_same_as_all_at_once(
    outcomes: list[tuple[float | None, int, bool]], keep: int, objective: Objective, data: st.DataObject
) -> None:
    trials = [ended(n, value, minute, saved) for n, (value, minute, saved) in enumerate(outcomes)]
    order = data.draw(st.permutations(trials))
    keeping, gone, heard = Keeping(keep, objective), set[int](), list[FrozenTrial]()
    while order:
        some, order = order[: (size := data.draw(st.integers(1, 4)))], order[size:]
        keeping.hear(some)
        heard += some
        assert keeping.kept == kept_trials(heard, keep, objective)
        if data.draw(st.booleans()):
            dropped = set(keeping.take_drop())
            assert not dropped & (gone | keeping.kept)
            gone |= dropped
    gone |= set(keeping.take_drop())
    assert gone == {trial.number for trial in trials if "checkpoint" in trial.user_attrs} - keeping.kept
