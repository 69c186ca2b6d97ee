"""The one place where a trial's state changes.

          START                FINISH
WAITING ---------> RUNNING ------------> COMPLETE
   ^                | |  |    PRUNE
   |  LOST, RETRY   | |  +-------------> PRUNED
   +----------------+ |       CRASH
                      +----------------> FAIL
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """A trial's state, named as Optuna names it."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Event(StrEnum):
    """What can happen to a trial. LOST is the fault of a process or machine, RETRY of its code."""

    START = "start"
    REPORT = "report"
    FINISH = "finish"
    PRUNE = "prune"
    CRASH = "crash"
    LOST = "lost"
    RETRY = "retry"


NEXT = {
    (State.WAITING, Event.START): State.RUNNING,
    (State.RUNNING, Event.REPORT): State.RUNNING,
    (State.RUNNING, Event.LOST): State.WAITING,
    (State.RUNNING, Event.RETRY): State.WAITING,
    (State.RUNNING, Event.FINISH): State.COMPLETE,
    (State.RUNNING, Event.PRUNE): State.PRUNED,
    (State.RUNNING, Event.CRASH): State.FAIL,
}
FINAL = frozenset(State) - {state for state, _ in NEXT}


class IllegalTransition(RuntimeError):
    """An event that the trial's state does not allow; the message names those that it does."""


@dataclass(frozen=True)
class TrialStatus:
    """Where one trial stands. `attempt` grows at every START; reports of an older attempt are refused by it."""

    number: int
    state: State = State.WAITING
    attempt: int = 0
    reason: str | None = None


def advance(status: TrialStatus, event: Event, reason: str | None = None) -> TrialStatus:
    """`status` after `event`, with the reason of the change. Raises IllegalTransition."""
    try:
        state = NEXT[status.state, event]
    except KeyError:
        allowed = ", ".join(e for s, e in NEXT if s is status.state) or "nothing: it is final"
        raise IllegalTransition(
            f"trial {status.number} is {status.state}: {event} is not allowed (allowed: {allowed})"
        ) from None
    return replace(status, state=state, attempt=status.attempt + (event is Event.START), reason=reason)
