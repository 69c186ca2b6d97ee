"""What slots, coordinator and driver say to each other: frozen data, nothing else crosses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from hpo.search.states import State
from hpo.training import Verdict

DONE = "done"
"""Why a run ended that nothing ended early."""


@dataclass(frozen=True, slots=True)
class Report:
    """The metrics of one step.

    saved: a checkpoint was written since the last report, and counts from now on. packed: it trains in a pack.
    """

    number: int
    attempt: int
    step: int
    metrics: Mapping[str, float]
    saved: bool = False
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Saving:
    """A checkpoint is about to be written: what was reported until now must outlive every process before it is.

    packed: it is of a pack's row.
    """

    number: int
    attempt: int
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A training function returned. `metrics` is what it returned, `unread` the parameters it never looked at.

    by_class: confusion matrix and ROC curves of its network, as plain data for the report; of a trial that may be the
    best only.
    """

    number: int
    attempt: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    by_class: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Crashed:
    """A training function raised. `reason` is one line; `retryable` is false where trying again cannot help."""

    number: int
    attempt: int
    reason: str
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Released:
    """A trial left after PUT_BACK, its state saved."""

    number: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Returned:
    """A slot gives a trial back that it cannot train as it meant to, through no fault of the trial: it goes on later.

    reason: one line. alone: whether it is to train without company then.
    """

    number: int
    attempt: int
    reason: str
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """What is new of an attempt's checkpoints: where they lie, and why one could not be written, if that happened."""

    number: int
    attempt: int
    where: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """What a slot found out about the whole run, for people; `number` puts it before all news of trials.

    warning: whether whoever watches is told, besides the log of the run.
    """

    text: str
    warning: bool = True
    number: int = -1
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What was measured under a key? The answer has it, where somebody did; `number` as of a Remark."""

    key: str
    number: int = -1
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a slot measured: steps a second of a single trial, and of all members of a pack together.

    key: text that is the same where the same would be measured. members: of the pack, at most. most: how many fit in
    memory, None where no pack ran out of it. measured: an aware moment. `number` as of a Remark.
    """

    key: str
    solo: float
    pack: float
    members: int
    most: int | None
    measured: datetime
    number: int = -1
    attempt: int = 0


News = Report | Saving | Finished | Crashed | Released | Returned | Remark | Checkpointed | Asked | Measured


@dataclass(frozen=True, slots=True)
class Lead:
    """The best value of a study so far, None where there is none: what a trial has to beat to be the winner."""

    metric: str
    maximize: bool
    value: float | None

    def is_beaten(self, metrics: Mapping[str, float]) -> bool:
        """Whether one report goes beyond it."""
        if self.metric not in metrics:
            return False
        new = metrics[self.metric]
        return self.value is None or (new > self.value if self.maximize else new < self.value)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to train. `params` are what its configuration gets, by dotted path.

    seed: the trial's own, the same at every attempt.
    decided: whether a pruner decides on its reports; if not, they may be sent a few at a time. lead: when it was given
    out, so that what is kept of the winner only is not made for each trial; None with several objectives. alone: it
    must not train beside others, since a process that trained it with others died, or hung, too often.
    """

    number: int
    attempt: int
    seed: int
    params: Mapping[str, Any]
    decided: bool = True
    lead: Lead | None = None
    alone: bool = False

    def beats_lead(self, metrics: Mapping[str, float]) -> bool:
        """Whether a report of it goes beyond the lead."""
        return self.lead is not None and self.lead.is_beaten(metrics)


@dataclass(frozen=True, slots=True)
class Answer:
    """The coordinator's answer to one exchange.

    verdicts: one for each Report and Saving sent, in their order. wait: seconds until asking again makes sense when
    there is nothing to train now. over: the slot ends. refused: nothing of what it told was believed. drop: trials
    whose checkpoints are to be deleted now. share: how many trials the slot may hold. ahead: seconds for which the run
    will go on, at the pace of the trials that ended; 0 where that is not known.
    measured: what is known of the keys that were asked for.
    """

    verdicts: tuple[Verdict, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    wait: float = 0.0
    over: bool = False
    refused: bool = False
    drop: tuple[int, ...] = ()
    share: int = 1
    ahead: float = 0.0
    measured: tuple[Measured, ...] = ()


def refusal(news: Sequence[News]) -> Answer:
    """The answer to a slot that is not, or no longer, one of ours: it ends, and nothing of its news is believed."""
    return Answer(tuple(Verdict.REFUSED for item in news if isinstance(item, Report | Saving)), over=True, refused=True)


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a slot is gone. Only the death of the trial's own process is held against the trial."""

    cause: Literal["process", "node", "stop"]
    detail: str


ENDED = Lost("process", "its slot ended without it")
"""A slot that ended by itself; after a clean end there is nothing to put back."""


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """One ended trial, for progress lines."""

    number: int
    state: State
    value: float | None
    reason: str | None
    seconds: float
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sweep at one moment, for whoever draws it.

    counts: ended trials of the study by state. total: how many it ends at, None when only time limits it.
    ended: the trials that ended since the last snapshot. rate: ended trials a minute in this run.
    failure: the sentence that ends the sweep with an error. note: why it ends early without one.
    taken_over: whether the failure is that another run has the study now. busy: the share of the packs' rows that
    trained; None where nothing was packed.
    """

    counts: Mapping[State, int]
    total: int | None
    running: int
    best: TrialEnd | None
    ended: tuple[TrialEnd, ...]
    rate: float
    seconds: float
    time_left: float | None
    over: bool
    failure: str | None = None
    note: str | None = None
    warnings: tuple[str, ...] = ()
    taken_over: bool = False
    busy: float | None = None
