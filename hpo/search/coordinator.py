"""The coordinator: the one owner of the live study during a run. A plain class; it knows nothing of Ray or torch.

Slots call `exchange` once a round. The driver calls `tick` several times a second and learns what to draw and which
slots to kill. Every answer leaves after what it rests on is durable in SQL.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from hpo.search import attributes
from hpo.search.allotment import Allotment
from hpo.search.bulletin import Bulletin
from hpo.search.live import EndedElsewhere, LiveStudy, Unusable
from hpo.search.messages import (
    DONE,
    Answer,
    Assignment,
    Checkpointed,
    Crashed,
    Finished,
    Lost,
    News,
    Remark,
    Report,
    Returned,
    Saving,
    Snapshot,
    TrialEnd,
    refusal,
)
from hpo.search.open_trial import OpenTrial
from hpo.search.plan import SearchPlan
from hpo.search.states import FINAL, Event, State
from hpo.search.stopwatch import Stopwatch
from hpo.training import Verdict

DEATHS_ALLOWED = 3
DEATHS_IN_COMPANY = 2  # of a process that trained several; then each goes on alone, so that one of them is to blame
RECOUNTED_EVERY = 5.0  # seconds
DRAIN_GRACE = 10.0  # seconds that trials in flight have to come to a report once nothing more is started
IDLE_WAIT = 0.1  # seconds
TIME_USED_UP = "time used up"


class Coordinator:
    """Hands out trials, decides on their reports, ends them, and puts the trials of lost slots back.

    live: the study's book. seconds: what was worked on the study before, all runs together. left: why trials may be
    RUNNING already. clock: monotonic seconds. Not thread safe. Any error but those documented is a fault of ours or
    the end of the storage; `close` leaves nothing RUNNING even then.
    """

    def __init__(
        self,
        live: LiveStudy,
        plan: SearchPlan,
        seconds: float = 0.0,
        left: str = "its run ended",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live = live
        self._plan = plan
        self._watch = Stopwatch(clock, seconds, plan.seconds)
        self._open: dict[int, OpenTrial] = {}
        self._live_slots = 0
        self._allotment = Allotment(plan)
        self._bulletin = Bulletin(plan)
        self._fails_in_a_row = 0
        self._draining: str | None = None
        self._stopping_since: float | None = None
        self._failure: str | None = None
        self._closed = False
        self.adopted = live.adopt(left)
        for number in self.adopted:
            live.log("adopted", f"adopted trial {number}: {left}", number)
        self._recounted = clock()
        self._watch_time()

    # ------------------------------------------------------------------ slots

    def wants_slot(self, live_slots: int) -> bool:
        """Whether one more slot than `live_slots` would find something to train."""
        self._live_slots = live_slots
        if self.is_over() or (self._plan.slots is not None and live_slots >= self._plan.slots):
            return False
        held = Counter(one.slot for one in self._open.values())
        return self._room(live_slots + 1) > self._allotment.unfilled(live_slots, held, self._counted())

    def open_slot(self, slot: str) -> None:
        """Admit a slot; only admitted slots are answered."""
        self._allotment.open(slot)

    def exchange(self, slot: str, news: Sequence[News], free: int, holds: Collection[int] | None = None) -> Answer:
        """One round of a slot: what its trials said, and how many more it could train.

        Reports are decided one by one in order of trial number. A slot that was declared lost is refused: its
        trials belong to others now.
        holds: numbers of the trials the slot has in hand besides those whose end it tells here; None: not said. A trial
        that we believe there and that it does not hold has died without a word: it is put back as after the death of
        its process, since it would otherwise take a place among those in flight for ever.
        """
        if self._closed or not self._allotment.is_open(slot):
            return refusal(news)
        with self._watch.busy(), self._live.batch():
            self._note_round(slot, news)
            by_number = sorted(range(len(news)), key=lambda i: news[i].number)
            verdicts = {index: self._hear(slot, news[index]) for index in by_number}
            measured = self._live.speeds.hear(news)
            if holds is not None:
                for one in [one for one in self._of(slot) if one.number not in holds]:
                    self._lose(one, Lost("process", "its slot lost it without a word"))
            self._allotment.hear(slot, len(self._of(slot)), free)
            assignments = tuple(self._start(slot, free))
            if assignments:  # the number of an attempt, too; ends and trials put back are committed with the block
                self._live.flush()
        told = tuple(verdicts[i] for i, item in enumerate(news) if isinstance(item, Report | Saving))
        busy, drop = bool(self._of(slot)), self._live.keeping.take_drop()  # of ends that are durable now
        share = self._allotment.share(self._allotment.slots(self._live_slots), self._counted())
        wait, over = 0.0 if busy else IDLE_WAIT, not busy and self.is_over()
        ahead = self._bulletin.ahead(self._watch.run_seconds, self._counted(), len(self._open), self._watch.left)
        return Answer(told, assignments, wait, over, drop=drop, share=share, ahead=ahead, measured=measured)

    def lost(self, slot: str, lost: Lost) -> list[int]:
        """Fence a slot and put its trials back; their numbers. A trial whose own process keeps dying is FAIL."""
        self._allotment.fence(slot)
        mine = self._of(slot)
        with self._watch.busy(), self._live.batch():
            for one in mine:
                self._lose(one, lost)
            self._live.flush()
        return [one.number for one in mine]

    # ----------------------------------------------------------------- driver

    def tick(self) -> tuple[Snapshot, tuple[str, ...]]:
        """What to draw now, and the slots to be killed by the caller, fenced here.

        Those whose trial is past its timeout, and those whose trials have not come to a report in DRAIN_GRACE seconds
        since the sweep began to stop.
        """
        now = self._watch.now()
        self._watch_time()
        with self._watch.busy(), self._live.batch():
            timeout = math.inf if self._plan.timeout is None else self._plan.timeout
            moment = self._watch.unhindered
            late = sorted({one.slot for one in self._open.values() if moment - one.started > timeout})
            for slot in late:
                self._allotment.fence(slot)
                self._end_late(slot)
            if late:
                self._live.flush()
        if self._stopping_since is not None and now - self._stopping_since > DRAIN_GRACE:
            silent = sorted({one.slot for one in self._open.values()})
            for slot in silent:
                self.lost(slot, Lost("stop", self._why()))
            late += silent
        if now - self._recounted >= RECOUNTED_EVERY:
            self._recounted = now
            self._live.recount()
        return self.snapshot(), tuple(late)

    def drain(self, why: str) -> None:
        """Start nothing more; trials in flight are put back at their next report."""
        self._draining = self._draining or why
        self._stopping_since = self._watch.now() if self._stopping_since is None else self._stopping_since

    def fail(self, sentence: str) -> None:
        """End the sweep with an error; trials in flight are put back at their next report."""
        self._failure = self._failure or sentence
        self._stopping_since = self._watch.now() if self._stopping_since is None else self._stopping_since

    def close(self, why: str) -> Snapshot:
        """End the run: put back what is still open, refuse everyone from now on.

        why: what is said of it where the sweep itself has no word for it.
        """
        if not self._closed:
            for slot in sorted({one.slot for one in self._open.values()}):
                self.lost(slot, Lost("stop", why))
            self._live.adopt(why)  # one that was half asked when something failed
            self._live.recount()
            ended = self._failure or self._note() or why
            kind = "failed" if self._failure else "finished" if ended == DONE else "stopped"
            count = self._counted()
            self._live.log(kind, f"{ended}: {count} trial{'s' if count != 1 else ''} ended")
            self._live.flush()
            self._closed = True
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The sweep at this moment; the trials that ended are told once."""
        ended, warnings = self._bulletin.take()
        elapsed = self._watch.run_seconds
        limits = [limit for limit in (self._plan.trials, self._live.limit) if limit is not None]
        return Snapshot(
            counts={state: self._live.counts[state] for state in sorted(FINAL)},
            total=min(limits, default=None),
            running=len(self._open),
            best=self._live.best,
            ended=ended,
            rate=60.0 * self._bulletin.ended_in_run / elapsed if elapsed > 0 else 0.0,
            seconds=self._watch.seconds,
            time_left=self._watch.left,
            over=self.is_over() and not self._open,
            failure=self._failure,
            note=self._note(),
            warnings=warnings,
            busy=self._allotment.busy,
        )

    def is_over(self) -> bool:
        """Whether no trial will be started any more, unless one in flight is lost."""
        return self._stopping or self._full or (self._live.exhausted and not self._open)

    # -------------------------------------------------------------- what next

    @property
    def _stopping(self) -> bool:
        return self._closed or self._draining is not None or self._failure is not None

    @property
    def _full(self) -> bool:
        return self._plan.trials is not None and self._counted() >= self._plan.trials

    def _counted(self) -> int:
        return sum(self._live.counts.values())

    def _of(self, slot: str) -> list[OpenTrial]:
        return [one for one in self._open.values() if one.slot == slot]

    def _room(self, slots: int) -> int:
        """How many trials may be started now, with so many slots."""
        if self._stopping:
            return 0
        room = self._plan.in_flight(slots) - len(self._open)
        if self._plan.trials is not None:
            room = min(room, self._plan.trials - self._counted() - len(self._open))
        return self._live.left(room)

    def _start(self, slot: str, free: int) -> Iterator[Assignment]:
        slots = self._allotment.slots(self._live_slots)
        while free > 0 and self._room(slots) > 0 and self._has_room(slot, slots):
            self._watch.begin()
            one = self._live.ask(slot, self._watch.unhindered, self._allotment.structure(slot))
            one.since = self._watch.now()
            self._open[one.number] = one
            if one.is_new:
                self._allotment.suggested(slot, one.known.params, self._allotment.share(slots, self._counted()))
            if one.misfit is not None:
                self._crash(one, one.misfit)
                continue
            free -= 1
            yield one.assignment

    def _has_room(self, slot: str, slots: int) -> bool:
        """Whether a slot may take one more trial, of `slots` slots."""
        mine = self._of(slot)
        if not mine:
            return True
        if self._live.next_is_alone() or any(one.assignment.alone for one in mine):
            return False
        return len(mine) < self._allotment.share(slots, self._counted())

    # ------------------------------------------------------------------- news

    def _note_round(self, slot: str, news: Sequence[News]) -> None:
        """A slot speaks: how many of its trials have trained; those in company are none of them late."""
        mine = self._of(slot)
        reporting = len({item.number for item in news if isinstance(item, Report)})
        if reporting:
            self._allotment.trained(slot, len(mine), reporting, self._room(max(self._live_slots, 1)))
        for one in mine if len(mine) > 1 else ():
            one.started = self._watch.unhindered

    def _hear(self, slot: str, item: News) -> Verdict:
        if isinstance(item, Remark):
            if self._bulletin.remark(item):
                self._live.log("remark", item.text)
            return Verdict.GO_ON
        one = self._open.get(item.number)
        if one is None or one.slot != slot or one.status.attempt != item.attempt:
            return Verdict.REFUSED
        try:
            if isinstance(item, Report | Saving) and item.packed:
                self._live.note_packed(one)
            if isinstance(item, Report):
                return self._reported(one, item)
            if isinstance(item, Saving):
                self._live.flush()
                return Verdict.GO_ON
            if isinstance(item, Checkpointed):
                one.checkpoint = item.where
                self._bulletin.trouble(item)
                return Verdict.GO_ON
            if isinstance(item, Finished):
                self._close(one, self._live.finish(one, item.metrics, item.by_class))
                fault = self._bulletin.unread(item)
                if fault is not None:
                    self.fail(fault)
            elif isinstance(item, Crashed):
                self._crashed(one, item)
            elif isinstance(item, Returned):
                self._put_back(one, Event.LOST, item.reason, alone=item.alone)
            elif one.put_back_told:
                self._put_back(one, Event.LOST, self._why())
            else:
                self._crash(one, "it left its training without being told to")
        except Unusable as error:
            self._crash(one, str(error))
        except EndedElsewhere:
            self._drop(one)
        return Verdict.REFUSED

    def _reported(self, one: OpenTrial, item: Report) -> Verdict:
        stop = self._live.report(one, item.step, item.metrics)
        if item.saved:
            self._live.reset(one, attributes.DEATHS)
            self._live.flush()  # the checkpoint may rest on this very report
        if stop:
            self._close(one, self._live.prune(one))
            return Verdict.PRUNED
        if self._stopping or self._full:
            one.put_back_told = True
            return Verdict.PUT_BACK
        return Verdict.GO_ON

    def _crashed(self, one: OpenTrial, item: Crashed) -> None:
        if item.retryable and one.count(attributes.RETRIES) < self._plan.retries:
            self._put_back(one, Event.RETRY, item.reason, attributes.RETRIES)
        else:
            self._crash(one, item.reason)

    # ------------------------------------------------------ ends of open trials

    def _close(self, one: OpenTrial, end: TrialEnd) -> None:
        del self._open[one.number]
        self._bulletin.end(replace(end, seconds=self._watch.now() - one.since))
        self._fails_in_a_row = self._fails_in_a_row + 1 if end.state is State.FAIL else 0
        if self._fails_in_a_row >= self._plan.max_in_a_row:
            self.fail(f"{self._fails_in_a_row} trials in a row failed; the last: {end.reason}")

    def _crash(self, one: OpenTrial, reason: str) -> None:
        try:
            self._close(one, self._live.crash(one, reason))
        except EndedElsewhere:
            self._drop(one)

    def _put_back(
        self, one: OpenTrial, event: Event, reason: str, counter: str | None = None, alone: bool = False
    ) -> None:
        try:
            self._live.put_back(one, event, reason, counter, alone)
            del self._open[one.number]
            self._live.log("requeued", f"requeued trial {one.number}: {reason}", one.number)
        except EndedElsewhere:
            self._drop(one)

    def _drop(self, one: OpenTrial) -> None:
        """Somebody else ended it; they are believed, and it counts as they say."""
        del self._open[one.number]
        self._live.recount()

    def _lose(self, one: OpenTrial, lost: Lost) -> None:
        """Only the death of the trial's own process is held against it, and not when we are stopping it ourselves."""
        blamed = lost.cause == "process" and not self._stopping
        deaths = one.count(attributes.DEATHS) + 1
        if blamed and deaths >= DEATHS_ALLOWED:
            self._crash(one, f"its process died {deaths} times: {lost.detail}")
        else:
            alone = blamed and deaths >= DEATHS_IN_COMPANY and self._plan.pack != "off"
            self._put_back(one, Event.LOST, lost.detail, attributes.DEATHS if blamed else None, alone)

    def _end_late(self, slot: str) -> None:
        """One that hangs alone is told so; in company nobody can say which it was, and each goes on alone."""
        mine = self._of(slot)
        timeout = f"{self._plan.timeout:g} s"
        for one in mine:
            if len(mine) == 1:
                self._crash(one, f"timed out: still training {timeout} after its start (trial.timeout)")
            else:
                self._put_back(one, Event.LOST, f"its pack was silent for {timeout} (trial.timeout)", alone=True)

    def _watch_time(self) -> None:
        if self._watch.left is not None and self._watch.left <= 0:
            self.drain(TIME_USED_UP)

    def _why(self) -> str:
        return self._failure or self._draining or "the sweep has all its trials"

    def _note(self) -> str | None:
        if self._failure is not None or self._full:
            return None
        if self._draining is None and self._live.exhausted:
            return f"sampler {self._plan.sampler.name}: every point of the space was tried"
        return self._draining
