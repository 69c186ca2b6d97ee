"""For how long a run will go on, at the pace of what has ended."""

from __future__ import annotations

import pytest

from hpo.search.bulletin import Bulletin
from hpo.search.messages import TrialEnd
from hpo.search.states import State
from tests.search.driving import plan


@pytest.mark.parametrize(
    ("trials", "ended", "seconds", "open_trials", "left", "expected"),
    [
        (100, 0, 5.0, 10, None, 0.0),  # nothing is known
        (100, 20, 10.0, 0, None, 40.0),
        (100, 5, 10.0, 30, None, 40.0),  # 20 are as good as done, and 80 are not
        (100, 20, 10.0, 0, 15.0, 15.0),  # the time is used up before
        (100, 100, 10.0, 0, None, 0.0),
        (None, 5, 10.0, 3, 90.0, 90.0),
    ],
)
def test_seconds_ahead(
    trials: int | None, ended: int, seconds: float, open_trials: int, left: float | None, expected: float
) -> None:
    bulletin = Bulletin(plan(trials=trials, seconds=None if left is None else 100.0))
    for number in range(ended):
        bulletin.end(TrialEnd(number, State.COMPLETE, 1.0, None, 1.0, {}))
    assert bulletin.ahead(seconds, ended, open_trials, left) == pytest.approx(expected)
