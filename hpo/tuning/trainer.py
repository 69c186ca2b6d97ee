"""What a slot does with the coordinator's trials, in this process and without Ray: train, tell, save, delete."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpo.encryption import Locked
from hpo.errors import one_line
from hpo.search.messages import Answer, Assignment, Checkpointed, Crashed, Finished, News, Released, Report, Saving
from hpo.training import Diverged, Stopped, Trial, Verdict
from hpo.training.checkpoint import TrialCheckpoints
from hpo.training.function import Ended, TrainingFunction
from hpo.training.team import ALONE, Team
from hpo.tuning.files import TrialFiles
from hpo.tuning.trial_log import trial_log

SPOKEN_EVERY = 0.25  # seconds for which reports that nobody decides on may be kept together

Exchange = Callable[[Sequence[News], int, Sequence[int]], Answer]
"""One round with the coordinator: news, how many more trials could be trained, numbers of those in hand."""


class Trainer:
    """Trains one trial after another, each in this thread; what it prints goes to its log.

    exchange: reaches the coordinator; what it raises ends everything here.
    team: of workers, of which this one is rank 0, where one trial is trained by several.
    place: of the checkpoints. news: what is told at the next exchange. holds: numbers of the trials in hand.
    """

    def __init__(self, files: TrialFiles, exchange: Exchange, team: Team = ALONE) -> None:
        self.files = files
        self.place = files.place()
        self.news: list[News] = []
        self.holds: set[int] = set()
        self._reach = exchange
        self._team = team
        self._spoke = 0.0

    def exchange(self, free: int, *more: News) -> Answer:
        """Tell what there is to tell; the coordinator's answer."""
        news, self.news = [*self.news, *more], []
        answer = self._reach(news, free, sorted(self.holds))
        self._spoke = time.monotonic()
        # only now are the ends in SQL for which these checkpoints have lost their use
        self.files.remove(self.place, answer.drop)
        return answer

    def train(self, run: TrainingFunction, given: Assignment) -> News:
        """One trial from start to end; its end, which is told at the next exchange.

        Raises Locked when what it needs is encrypted and cannot be opened here, Apart when the team fell apart.
        """
        saving = Saving(given.number, given.attempt)
        store = TrialCheckpoints(self.place, given.number, given.attempt, lambda: self._is_settled(saving))
        told = Told(given, store)
        leads = False

        def send(step: int, metrics: Mapping[str, float]) -> Verdict:
            nonlocal leads
            leads = leads or given.beats_lead(metrics)
            saved = told.saved()
            report = Report(given.number, given.attempt, step, metrics, saved)
            self.news += told.news()
            if not given.decided and not saved and time.monotonic() - self._spoke < SPOKEN_EVERY:
                self.news.append(report)
                return Verdict.GO_ON
            return self.exchange(0, report).verdicts[-1]

        keeps = self.files.keep > 0
        trial = Trial(given.number, given.seed, send, store, self.files.every, keeps=keeps, team=self._team)
        self.holds.add(given.number)
        with trial_log(self.files.log(given.number), given):
            ended = _outcome(run, trial, given, lambda: leads)
            if isinstance(ended, Finished):  # no report comes any more
                store.settle()
        self.news += [*told.news(), ended]  # after training, which exchanges, and so replaces the list
        self.holds.discard(given.number)
        return ended

    def _is_settled(self, saving: Saving) -> bool:
        """What a checkpoint rests on must be in SQL before anyone can go on from it."""
        return self.exchange(0, saving).verdicts[-1] is not Verdict.REFUSED


class Told:
    """What the coordinator knows of an attempt's checkpoints."""

    def __init__(self, given: Assignment, store: TrialCheckpoints) -> None:
        self._given, self._store = given, store
        self._saves = 0
        self._known: tuple[str | None, str | None] = (None, None)

    def saved(self) -> bool:
        """Whether one was written since this was last asked."""
        before, self._saves = self._saves, self._store.saves
        return before != self._saves

    def news(self) -> list[News]:
        """What is new of where they lie, or why they do not."""
        known, self._known = self._known, (self._store.where, self._store.trouble)
        if known == self._known:
            return []
        return [Checkpointed(self._given.number, self._given.attempt, *self._known)]


def _outcome(run: TrainingFunction, trial: Trial, given: Assignment, leads: Callable[[], bool]) -> News:
    try:
        ended = run(given.params, trial)
    except Stopped:
        return Released(given.number, given.attempt)
    except Diverged as error:  # the same seed diverges again
        return Crashed(given.number, given.attempt, str(error), retryable=False)
    except Locked:  # held against the key, not against the trial
        raise
    except Exception as error:
        traceback.print_exc()
        return Crashed(given.number, given.attempt, one_line(error))
    if trial.verdict is not Verdict.GO_ON:
        return Released(given.number, given.attempt)
    return finished(given, ended, leads())


def finished(given: Assignment, ended: Ended, leads: bool) -> Finished:
    """A training that came to its end. leads: whether a report of it beat all before, so that it may be the winner."""
    by_class = _by_class(ended) if leads else None
    return Finished(given.number, given.attempt, ended.metrics, ended.unread, by_class)


def _by_class(ended: Ended) -> Mapping[str, Any] | None:
    """As data. The trial has its value: what goes wrong here (no memory left, say) is no reason to lose it."""
    try:
        measured = ended.by_class() if ended.by_class is not None else None
    except Exception:
        traceback.print_exc()
        return None
    return measured.model_dump(mode="json") if measured is not None else None
