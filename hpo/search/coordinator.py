"""The coordinator: the one owner of the live study during a run. A plain class; it knows nothing of Ray or torch.

Slots call `exchange` once a round. The driver calls `tick` several times a second and learns what to draw and which
slots to kill. Every answer leaves after what it rests on is durable in SQL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpo.search import attributes
from hpo.search.live import LiveStudy, OpenTrial
from hpo.search.messages import (
    Answer,
    Crashed,
    Finished,
    Lost,
    News,
    Released,
    Report,
    Snapshot,
    TrialEnd,
)
from hpo.search.plan import SearchPlan
from hpo.search.states import FINAL, Event, State
from hpo.training import Verdict

DEATHS_ALLOWED = 3
RUN_WRITTEN_EVERY = 5.0  # seconds


class Coordinator:
    """Hands out trials, decides on their reports, ends them, and puts the trials of lost slots back.

    live: the study's book. run: what is recorded of this run; its "seconds" are those of earlier runs.
    clock: monotonic seconds.
    """

    def __init__(
        self, live: LiveStudy, plan: SearchPlan, run: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._live = live
        self._plan = plan
        self._run = dict(run)
        self._clock = clock
        self._seconds_before = float(run.get("seconds", 0.0))
        self._first_ask: float | None = None
        self._run_written = clock()
        self._sql_seconds = 0.0
        self._open: dict[int, OpenTrial] = {}
        self._slots: set[str] = set()
        self._fenced: set[str] = set()
        self._ended: list[TrialEnd] = []
        self._ended_in_run = 0
        self._warnings: list[str] = []
        self._fails_in_a_row = 0
        self._draining: str | None = None
        self._failure: str | None = None
        self._had_complete = live.counts[State.COMPLETE] > 0
        limit = plan.sampler.limit(plan.space)
        self._limit = min((n for n in (plan.trials, limit) if n is not None), default=None)
        self._limited_by_sampler = limit is not None and (plan.trials is None or limit < plan.trials)
        self.adopted = live.adopt()
        self._write_run()

    # ------------------------------------------------------------------ slots

    def wants_slot(self, live_slots: int) -> bool:
        """Whether one more slot than `live_slots` would find something to train."""
        return (
            not self.is_over() and self._askable() > 0 and (self._plan.slots is None or live_slots < self._plan.slots)
        )

    def open_slot(self, slot: str) -> None:
        """Admit a slot; only admitted slots are answered."""
        self._slots.add(slot)

    def exchange(self, slot: str, news: Sequence[News], free: int) -> Answer:
        """One round of a slot: what its trials said, and how many more it could train.

        Reports are decided one by one in order of trial number. A slot that was declared lost is refused: its
        trials belong to others now.
        """
        if slot not in self._slots or slot in self._fenced:
            return Answer(tuple(Verdict.REFUSED for item in news if isinstance(item, Report)), over=True)
        verdicts: dict[int, Verdict] = {}
        for index in sorted(range(len(news)), key=lambda i: news[i].number):
            verdicts[index] = self._hear(slot, news[index])
        assignments = tuple(self._start(slot).assignment for _ in range(min(free, self._askable())))
        self._flush()
        told = tuple(verdicts[i] for i, item in enumerate(news) if isinstance(item, Report))
        busy = any(one.slot == slot for one in self._open.values())
        return Answer(told, assignments, 0.0 if busy else 0.1, over=not busy and self.is_over())

    def lost(self, slot: str, lost: Lost) -> list[int]:
        """Fence a slot and put its trials back; their numbers. A trial whose own process keeps dying is FAIL."""
        self._fenced.add(slot)
        mine = [one for one in self._open.values() if one.slot == slot]
        for one in mine:
            deaths = int(one.trial.user_attrs.get(attributes.DEATHS, 0)) + 1
            if lost.cause == "process" and deaths >= DEATHS_ALLOWED:
                self._close(one, self._live.crash(one, f"its process died {deaths} times: {lost.detail}"))
            else:
                counter = attributes.DEATHS if lost.cause == "process" else None
                self._live.put_back(one, Event.LOST, lost.detail, counter)
                del self._open[one.number]
        self._flush()
        return [one.number for one in mine]

    # ----------------------------------------------------------------- driver

    def tick(self) -> tuple[Snapshot, tuple[str, ...]]:
        """What to draw now, and the slots whose trial is past its timeout: fenced here, to be killed by the caller."""
        now = self._clock()
        late = tuple({one.slot for one in self._open.values() if self._is_late(one, now)})
        for slot in late:
            self._fenced.add(slot)
            self._end_late(slot, now)
        left = self._time_left(now)
        if left is not None and left <= 0 and self._draining is None:
            self.drain("time used up")
        if now - self._run_written >= RUN_WRITTEN_EVERY:
            self._write_run()
        if late:
            self._flush()
        return self.snapshot(), late

    def drain(self, why: str) -> None:
        """Start nothing more; trials in flight are put back at their next report."""
        self._draining = self._draining or why

    def fail(self, sentence: str) -> None:
        """End the sweep with an error; trials in flight are put back at their next report."""
        self._failure = self._failure or sentence

    def close(self, why: str) -> Snapshot:
        """End the run: put back what is still open, refuse everyone from now on, record the end."""
        self.drain(why)
        for slot in list(self._slots):
            self.lost(slot, Lost("stop", why))
        self._run["ended"] = why
        self._write_run()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The sweep at this moment; the trials that ended are told once."""
        now = self._clock()
        ended, self._ended = tuple(self._ended), []
        warnings, self._warnings = tuple(self._warnings), []
        elapsed = 0.0 if self._first_ask is None else now - self._first_ask
        return Snapshot(
            counts={state: self._live.counts[state] for state in sorted(FINAL)},
            total=self._limit,
            running=len(self._open),
            best=self._live.best,
            ended=ended,
            rate=60.0 * self._ended_in_run / elapsed if elapsed > 0 else 0.0,
            seconds=self._seconds(now),
            time_left=self._time_left(now),
            over=self.is_over() and not self._open,
            failure=self._failure,
            note=self._note(),
            warnings=warnings,
        )

    def is_over(self) -> bool:
        """Whether no trial will be started any more, unless one in flight is lost."""
        return self._stopping() or (self._limit is not None and self._counted() >= self._limit)

    # ---------------------------------------------------------------- details

    def _counted(self) -> int:
        return sum(self._live.counts[state] for state in FINAL)

    def _stopping(self) -> bool:
        return self._draining is not None or self._failure is not None or self._live.exhausted

    def _askable(self) -> int:
        """How many trials may be started now."""
        if self._stopping():
            return 0
        room = self._plan.in_flight - len(self._open)
        if self._limit is not None:
            room = min(room, self._limit - self._counted() - len(self._open))
        return max(room, 0)

    def _start(self, slot: str) -> OpenTrial:
        now = self._clock()
        if self._first_ask is None:
            self._first_ask = now
        one = self._live.ask(slot, self._work_clock(now))
        self._open[one.number] = one
        return one

    def _hear(self, slot: str, item: News) -> Verdict:
        one = self._open.get(item.number)
        if one is None or one.slot != slot or one.status.attempt != item.attempt:
            return Verdict.REFUSED
        try:
            if isinstance(item, Report):
                return self._hear_report(one, item)
            if isinstance(item, Finished):
                self._check_read(item)
                self._close(one, self._live.finish(one, item.metrics))
            elif isinstance(item, Crashed):
                self._crashed(one, item)
            else:
                self._released(one, item)
        except ValueError as error:  # a report or result that cannot be used
            self._close(one, self._live.crash(one, str(error)))
        return Verdict.REFUSED

    def _hear_report(self, one: OpenTrial, item: Report) -> Verdict:
        if item.saved and one.trial.user_attrs.get(attributes.DEATHS, 0):
            one.trial.set_user_attr(attributes.DEATHS, 0)
        if self._live.report(one, item.step, item.metrics):
            self._close(one, self._live.prune(one))
            return Verdict.PRUNED
        return Verdict.PUT_BACK if self._stopping() else Verdict.GO_ON

    def _crashed(self, one: OpenTrial, item: Crashed) -> None:
        retries = int(one.trial.user_attrs.get(attributes.RETRIES, 0))
        if item.retryable and retries < self._plan.retries:
            self._live.put_back(one, Event.RETRY, item.reason, attributes.RETRIES)
            del self._open[one.number]
        else:
            self._close(one, self._live.crash(one, item.reason))

    def _released(self, one: OpenTrial, item: Released) -> None:
        del item
        self._live.put_back(one, Event.LOST, self._draining or "the sweep ended")
        del self._open[one.number]

    def _check_read(self, item: Finished) -> None:
        """The first COMPLETE trial shows whether every parameter reaches the training function."""
        if self._had_complete or not item.unread:
            self._had_complete = True
            return
        self._had_complete = True
        conditional = self._plan.space.conditional()
        never = [name for name in item.unread if name not in conditional]
        if never and self._plan.unread_ends:
            self._failure = f"space.{never[0]}: the training function never read this parameter from its config"
        self._warnings.extend(f"space.{name}: trial {item.number} never read it" for name in item.unread)

    def _close(self, one: OpenTrial, end: TrialEnd) -> None:
        del self._open[one.number]
        self._ended.append(end)
        self._ended_in_run += 1
        self._fails_in_a_row = self._fails_in_a_row + 1 if end.state is State.FAIL else 0
        if self._fails_in_a_row >= self._plan.max_in_a_row and self._failure is None:
            self._failure = f"{self._fails_in_a_row} trials in a row failed; the last: {end.reason}"

    def _is_late(self, one: OpenTrial, now: float) -> bool:
        return self._plan.timeout is not None and self._work_clock(now) - one.started > self._plan.timeout

    def _end_late(self, slot: str, now: float) -> None:
        for one in [one for one in self._open.values() if one.slot == slot]:
            if self._is_late(one, now):
                reason = f"timed out: still training {self._plan.timeout:g} s after its start (trial.timeout)"
                self._close(one, self._live.crash(one, reason))
            else:
                self._live.put_back(one, Event.LOST, "its slot was stopped for another trial's timeout")
                del self._open[one.number]

    def _work_clock(self, now: float) -> float:
        """Time that counts for a trial's timeout: waiting for SQL counts for nobody."""
        return now - self._sql_seconds

    def _flush(self) -> None:
        started = self._clock()
        self._live.flush()
        self._sql_seconds += self._clock() - started

    def _seconds(self, now: float) -> float:
        return self._seconds_before + (0.0 if self._first_ask is None else now - self._first_ask)

    def _time_left(self, now: float) -> float | None:
        return None if self._plan.seconds is None else self._plan.seconds - self._seconds(now)

    def _note(self) -> str | None:
        counted = self._counted()
        if self._failure is None and self._draining is not None:
            return self._draining
        exhausted = self._live.exhausted or (self._limited_by_sampler and counted == self._limit)
        if exhausted:
            return f"sampler {self._plan.sampler.name}: every point of the space was tried"
        return None

    def _write_run(self) -> None:
        self._run_written = self._clock()
        self._run["seconds"] = round(self._seconds(self._run_written), 3)
        self._live.set_run(self._run)
        self._flush()
