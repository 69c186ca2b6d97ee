"""What a slot does with many trials at once, in this process and without Ray: packs of them train, and speak as one.

A round is an epoch of every pack, one exchange with all that is to be told, and new trials in the rows that are free.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hpo.encryption import Locked
from hpo.errors import one_line
from hpo.search.messages import (
    Answer,
    Asked,
    Assignment,
    Crashed,
    Measured,
    News,
    Released,
    Remark,
    Report,
    Returned,
    Saving,
)
from hpo.training import Trial, Verdict
from hpo.training.checkpoint import TrialCheckpoints
from hpo.training.function import Packing
from hpo.training.shape import Shape, Unpackable
from hpo.tuning.rows import RowsThatPay, fixed_rows
from hpo.tuning.trainer import Told, Trainer, finished
from hpo.tuning.trial_log import pack_log, trial_log

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.packed import Member, Pack

_IN_A_PACK = "# trains in a pack: what its members print from here on stands in the logs of all of them\n"


@dataclass(eq=False)
class _Row:
    """A trial in a pack. may_save: what the coordinator answered to the last Saving. leads: as `finished` says."""

    given: Assignment
    shape: Shape
    store: TrialCheckpoints
    told: Told
    may_save: bool = False
    leads: bool = False
    verdicts: deque[Verdict] = field(default_factory=deque)
    member: Member = field(init=False)

    def reports(self) -> list[News]:
        """What its trial was not told yet, for the coordinator."""
        said: list[News] = []
        for step, metrics in self.member.unreported:
            self.leads = self.leads or self.given.beats_lead(metrics)
            said += self.told.news()
            said.append(Report(self.given.number, self.given.attempt, step, metrics, self.told.saved(), packed=True))
        return said

    def verdict(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        """The answer to the report that its trial sends now: it was told, and answered, with those of the others."""
        del step, metrics
        return self.verdicts.popleft()

    def crashed(self, reason: str, *, retryable: bool = True) -> Crashed:
        return Crashed(self.given.number, self.given.attempt, reason, retryable)


class Packs:
    """The packs of one slot, one for each shape, which take turns; what cannot be packed trains between two rounds.

    trainer: tells, and trains what goes alone. rows: how many trials at once; auto: as many as pay.
    An exception in a pack costs its members what they trained since their checkpoints, and they go on in packs of half
    the size; one that raises by itself is FAIL.
    """

    def __init__(self, trainer: Trainer, packing: Packing, rows: int | Literal["auto"]) -> None:
        self._trainer, self._packing = trainer, packing
        self._auto = RowsThatPay(self._ask, self._tell, self.note) if rows == "auto" else None
        self._rows_for = self._auto or fixed_rows(int(rows))
        self._packs: dict[Shape, Pack] = {}
        self._rows: list[_Row] = []
        self._most: int | None = None  # trials at once; not known before the first one has shown its shape
        self._halved: int | None = None
        self._share = 1
        self._freed = False  # a row, since the last exchange that could have filled it
        self._said: set[str] = set()
        self._blaming = False

    def round(self) -> Answer:
        """The coordinator's last answer; nothing of it is left to do but to wait or to end."""
        for shape in list(self._packs):
            self._epoch(shape)
        self._save([row for row in self._rows if row.member.checkpoint_due and row.member.diverged is None])
        answer = self._speak()
        while answer.assignments or ((self._trainer.news or self._freed) and not answer.refused):
            self._seat(answer.assignments)
            answer = self._speak()
        return answer

    @property
    def _free(self) -> int:
        most = 1 if self._most is None else min(self._most, self._halved or self._most)
        return max(most - len(self._trainer.holds), 0)

    # ---------------------------------------------------------------- training

    def _epoch(self, shape: Shape) -> None:
        pack = self._packs[shape]
        rows = [row for row in self._rows if row.shape == shape]
        raised = None
        with pack_log(lambda: [self._trainer.files.log(row.given.number) for row in rows]):
            try:
                pack.epoch()
            except Exception as error:
                traceback.print_exc()
                raised, by_memory = one_line(error), _is_of_memory(error)
        if raised is not None:  # the error, which holds on to the pack's tensors, is gone
            self._break_up(rows, raised, by_memory=by_memory)

    def _break_up(self, rows: Sequence[_Row], raised: str, *, by_memory: bool) -> None:
        """Give the members of a pack that raised back; they return into packs of half the size, or alone."""
        self._halved = max(len(rows) // 2, 1)
        self._blaming = not by_memory
        self.warn(f"a pack of {len(rows)} raised {raised}; its trials go on {self._halved} at once")
        for row in rows:
            self._tell_end(row, Returned(row.given.number, row.given.attempt, f"its pack raised {raised}"))
            self._forget(row)
        self._packs.pop(rows[0].shape)
        gc.collect()
        if by_memory:
            _give_memory_back()
            if self._auto is not None:
                self._auto.did_not_fit(rows[0].shape, self._halved)

    def _save(self, rows: Collection[_Row]) -> None:
        """Save members, after one exchange that makes durable what all of them rest on."""
        for row in self._permitted(rows):
            self._do(row, row.member.save)

    def _permitted(self, rows: Collection[_Row]) -> Iterator[_Row]:
        if not rows:
            return
        saving = [Saving(row.given.number, row.given.attempt, packed=True) for row in rows]
        answer = self._trainer.exchange(0, *saving)
        for row, verdict in zip(rows, answer.verdicts[-len(rows) :], strict=True):
            row.may_save = verdict is not Verdict.REFUSED
            yield row

    # ---------------------------------------------------------------- speaking

    def _speak(self) -> Answer:
        """Tell what is new of all members, and let each take its answer; those that end leave."""
        said: list[tuple[_Row, list[News]]] = []
        for row in list(self._rows):
            reports = row.reports()
            if row.member.diverged is not None:  # the same seed diverges again
                self._tell_end(row, row.crashed(str(row.member.diverged), retryable=False), *reports)
                self._leave(row)
            elif reports:
                said.append((row, reports))
        self._freed = False
        before = sum(isinstance(item, Report | Saving) for item in self._trainer.news)
        answer = self._trainer.exchange(self._free, *(item for _, news in said for item in news))
        self._share = answer.share
        for pack in self._packs.values():
            pack.ahead = answer.ahead
        self._trainer.holds |= {given.number for given in answer.assignments}
        verdicts = iter(answer.verdicts[before:])
        for row, news in said:
            row.verdicts.extend(next(verdicts) for item in news if isinstance(item, Report))
        for _ in self._permitted([row for row, _ in said if Verdict.PUT_BACK in row.verdicts]):
            pass
        for row, _ in said:
            self._deliver(row)
        if answer.refused:
            self._abandon()
        return answer

    def _deliver(self, row: _Row) -> None:
        going = self._do(row, row.member.deliver)
        if going is None or going:
            return
        given, verdict = row.given, row.member.trial.verdict
        if verdict is Verdict.GO_ON:
            row.store.settle()  # no report comes any more
            self._tell_end(row, finished(given, self._packing.ended(given.params, row.member), row.leads))
        elif verdict is Verdict.PUT_BACK:
            self._tell_end(row, Released(given.number, given.attempt))
        self._leave(row)

    def _do(self, row: _Row, what: Callable[[], bool | None]) -> bool | None:
        """What it returns; None, and the trial has crashed, when it raised."""
        try:
            return what()
        except Exception as error:
            with pack_log(lambda: [self._trainer.files.log(row.given.number)]):
                traceback.print_exc()
            self._tell_end(row, row.crashed(one_line(error)))
            self._leave(row)
            return None

    def _tell_end(self, row: _Row, end: News, *before: News) -> None:
        self._trainer.news += [*before, *row.told.news(), end]

    def _leave(self, row: _Row) -> None:
        if row not in self._rows:
            return
        self._forget(row)
        pack = self._packs[row.shape]
        pack.leave(row.member)
        if not pack.members:
            del self._packs[row.shape]

    def _forget(self, row: _Row) -> None:
        self._rows.remove(row)
        self._freed = True
        self._trainer.holds.discard(row.given.number)

    def _abandon(self) -> None:
        """Others have these trials now."""
        self._packs.clear()
        self._rows.clear()
        self._trainer.holds.clear()
        self._trainer.news.clear()

    # ---------------------------------------------------------------- new trials

    def _seat(self, assignments: Sequence[Assignment]) -> None:
        alone = [given for given in assignments if not self._admit(given)]
        for given in alone:
            ended = self._trainer.train(self._packing.run, given)
            if isinstance(ended, Crashed) and self._blaming:  # it was this one that raised in the packs
                self._halved, self._blaming = None, False

    def _admit(self, given: Assignment) -> bool:
        """Whether it has a row, or its end; else it is to train by itself."""
        if given.alone or self._halved == 1:
            return False
        files = self._trainer.files
        with trial_log(files.log(given.number), given):
            try:
                config = self._packing.config(given.params, given.seed)
                shape = self._packing.shape(config)
                self._most = self._rows_for(self._packing, config, self._share)
                if self._most == 1:
                    return False
                self._rows.append(self._seated(given, config, shape))
            except Locked:  # held against the key, not against the trial
                raise
            except Unpackable as error:
                self.warn(f"not packed, each such trial trains by itself: {error}")
                return False
            except Exception as error:
                traceback.print_exc()
                self._trainer.news.append(Crashed(given.number, given.attempt, one_line(error)))
                self._trainer.holds.discard(given.number)
        return True

    def _seated(self, given: Assignment, config: TrainingConfig, shape: Shape) -> _Row:
        files = self._trainer.files
        store = TrialCheckpoints(self._trainer.place, given.number, given.attempt, lambda: row.may_save)
        row = _Row(given, shape, store, Told(given, store))
        trial = Trial(given.number, given.seed, row.verdict, store, files.every, keeps=files.keep > 0)
        pack = self._packs.get(shape) or self._packing.start(config)
        row.member = pack.admit(config, trial)
        self._packs[shape] = pack
        sys.stdout.write(_IN_A_PACK)  # into the trial's log
        return row

    def _ask(self, key: str) -> Measured | None:
        return next(iter(self._trainer.exchange(0, Asked(key)).measured), None)

    def _tell(self, measured: Measured) -> None:
        self._trainer.news.append(measured)

    def note(self, text: str) -> None:
        """A line for the log of the run; it goes with the next exchange."""
        self._trainer.news.append(Remark(text, warning=False))

    def warn(self, text: str) -> None:
        """A warning of the run, once."""
        if text not in self._said:
            self._said.add(text)
            self._trainer.news.append(Remark(text))


def _is_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _give_memory_back() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
