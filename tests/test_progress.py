"""Words for a sweep in progress."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.progress import best_text, counts_text, done_of, time_left, time_text, trial_line
from hpo.search.messages import Snapshot, TrialEnd
from hpo.search.states import State


def snapshot(**changes: Any) -> Snapshot:
    counts = {State.COMPLETE: 12, State.PRUNED: 24, State.FAIL: 1}
    fields: dict[str, Any] = {"counts": counts, "total": 60, "running": 2, "best": end(12, 0.9722222), "ended": ()}
    return Snapshot(**{**fields, "rate": 30.0, "seconds": 74.0, "time_left": None, "over": False, **changes})


def end(number: int, value: float | None, state: State = State.COMPLETE, reason: str | None = None) -> TrialEnd:
    return TrialEnd(number, state, value, reason, 1.25, {"x": 1.0})


def test_how_many_are_done() -> None:
    assert done_of(snapshot()) == "37 of 60"
    assert done_of(snapshot(total=None)) == "37"
    assert counts_text(snapshot()) == "12 complete, 24 pruned, 1 failed"


def test_the_best_so_far() -> None:
    assert best_text(snapshot()) == "best 0.972222 (trial 12)"
    assert best_text(snapshot(best=None, counts={State.COMPLETE: 0, State.PRUNED: 1, State.FAIL: 0})) == ""
    assert best_text(snapshot(best=None)) == "none meets the constraints yet"


@pytest.mark.parametrize(
    ("ended", "line"),
    [
        (end(7, 0.5), "trial 7 complete: 0.5 (1.2 s)"),
        (end(7, None), "trial 7 complete (1.2 s)"),
        (
            end(7, 0.7, State.PRUNED, "pruned at step 3 by hyperband: value 0.7"),
            "trial 7 pruned at step 3 by hyperband: value 0.7 (1.2 s)",
        ),
        (
            end(7, None, State.FAIL, "ValueError: no such file"),
            "trial 7 failed: ValueError: no such file (1.2 s)",
        ),
    ],
)
def test_a_line_of_an_ended_trial(ended: TrialEnd, line: str) -> None:
    assert trial_line(ended, snapshot()) == f"{line}; 37 of 60, best 0.972222 (trial 12)"
    none_complete = snapshot(best=None, counts={State.PRUNED: 36, State.FAIL: 1})
    assert trial_line(ended, none_complete) == f"{line}; 37 of 60"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_the_time_left_is_the_nearer_of_the_two_limits() -> None:
    assert time_left(snapshot()) == pytest.approx(46)  # 23 trials at 30 a minute
    assert time_left(snapshot(time_left=20.0)) == 20
    assert time_left(snapshot(time_left=90.0)) == pytest.approx(46)
    assert time_left(snapshot(time_left=-3.0)) == 0
    assert time_left(snapshot(rate=0.0)) is None
    assert time_left(snapshot(total=None)) is None
    assert time_left(snapshot(total=None, time_left=8.0)) == 8
