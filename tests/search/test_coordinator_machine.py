"""A coordinator under everything that can happen to it, in any order: what always holds, and what holds in the end."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.trial import FrozenTrial, TrialState

from hpo.search.messages import Assignment, Crashed, Finished, Lost, News, Released, Report, Saving
from hpo.search.plan import SearchPlan
from hpo.storage import StudyStorage
from hpo.training import Verdict
from tests.search.driving import Clock, Sweep, in_sql, kill, memory_study, open_sqlite, plan

STEPS = 6
TIMEOUT = 50.0
PRUNERS: list[Any] = [
    "none",
    "median",
    {"name": "threshold", "lower": 0.2},
    {"name": "successive_halving", "min_resource": 1, "reduction_factor": 2},
]
VALUES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])
ACTS = st.sampled_from([*["report"] * 8, "save", "save", "wait", "nan", "crash", "leave"])


@dataclass
class Training:
    """A trial in a slot's hands: the step it has come to, and the last verdict on it."""

    given: Assignment
    step: int
    verdict: Verdict = Verdict.GO_ON


@dataclass
class Slot:
    name: str
    rows: int
    held: list[Training] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Slots of 1 to 4 rows, their processes, their checkpoints (which outlive everything), and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.slots: dict[str, Slot] = {}
        self.checkpoints: dict[int, int] = {}
        self.attempts: Counter[int] = Counter()
        self.seen: dict[int, tuple[int, dict[str, Any]]] = {}
        self.gone: list[tuple[str, Training]] = []
        self.names = 0
        self.drained = False

    # -------------------------------------------------- where the study is kept

    def new_study(self) -> optuna.Study:
        return memory_study(self.plan)

    def killed(self) -> None:
        """The driver and the coordinator are gone."""

    def closed(self) -> None:
        """The coordinator's process ends by itself."""

    def reopened(self) -> optuna.Study:
        return self.study

    def as_others_see(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def storage_of(self) -> StudyStorage | None:
        return None

    # ---------------------------------------------------------------- the rules

    @initialize(
        trials=st.integers(1, 30),
        slots=st.sampled_from([1, 2, 3, None]),
        pruner=st.sampled_from(PRUNERS),
        retries=st.integers(0, 1),
    )
    def start(self, trials: int, slots: int | None, pruner: Any, retries: int) -> None:
        self.plan: SearchPlan = plan(
            trials=trials, slots=slots, pruner=pruner, retries=retries, timeout=TIMEOUT, max_in_a_row=10**6
        )
        self.study = self.new_study()
        self.begin()

    def begin(self) -> None:
        self.sweep = Sweep(self.plan, self.study, clock=self.clock, slots="", storage=self.storage_of())
        self.coordinator = self.sweep.coordinator
        self.slots = {}
        self.drained = False

    @rule(rows=st.integers(1, 4))
    def slots_start(self, rows: int) -> None:
        while len(self.slots) < 3 and self.coordinator.wants_slot(len(self.slots)):
            self.names += 1
            slot = Slot(f"slot{self.names}", rows)
            self.slots[slot.name] = slot
            self.coordinator.open_slot(slot.name)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def a_round(self, data: st.DataObject) -> None:
        self.one_round(self.pick(data), lambda: data.draw(ACTS), lambda: data.draw(VALUES))

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), rounds=st.integers(1, STEPS))
    def all_train(self, data: st.DataObject, rounds: int) -> None:
        for _ in range(rounds):
            for slot in list(self.slots.values()):
                self.one_round(slot, lambda: data.draw(ACTS), lambda: data.draw(VALUES))

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), cause=st.sampled_from(["process", "node"]), saves=st.booleans())
    def a_slot_dies(self, data: st.DataObject, cause: Any, saves: bool) -> None:
        slot = self.pick(data)
        if saves:
            self.save_unheard(slot)
        self.forget(slot)
        numbers = self.coordinator.lost(slot.name, Lost(cause, "gone"))
        assert set(numbers) >= {one.given.number for one in slot.held}

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def a_slot_loses_a_trial_without_a_word(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([slot for slot in self.slots.values() if slot.held]))
        slot.held.pop()

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), finished=st.booleans())
    def someone_declared_dead_speaks(self, data: st.DataObject, finished: bool) -> None:
        name, one = data.draw(st.sampled_from(self.gone))
        before = self.as_others_see()
        number, attempt = one.given.number, one.given.attempt
        said = Finished(number, attempt, {"score": 9.0}) if finished else Report(number, attempt, 99, {"score": 9.0})
        answer = self.coordinator.exchange(name, [said], 4, holds=())
        assert answer.over
        assert set(answer.verdicts) <= {Verdict.REFUSED}
        assert answer.assignments == ()
        assert [(t.state, t.intermediate_values) for t in self.as_others_see()] == [
            (t.state, t.intermediate_values) for t in before
        ]

    @rule(seconds=st.sampled_from([1.0, 6.0, 30.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        _, late = self.coordinator.tick()
        for name in late:
            self.forget(self.slots[name])

    @precondition(lambda self: self.holding() and not self.drained)
    @rule()
    def the_driver_drains(self) -> None:
        self.coordinator.drain("stopped by SIGINT")
        self.drained = True

    @precondition(lambda self: self.drained or self.holding())
    @rule()
    def the_run_ends_and_another_begins(self) -> None:
        self.coordinator.close("stopped")
        assert not [trial for trial in self.as_others_see() if trial.state == TrialState.RUNNING]
        self.closed()
        self.study = self.reopened()
        self.begin()

    @precondition(lambda self: self.holding())
    @rule(saves=st.booleans())
    def everything_is_killed(self, saves: bool) -> None:
        for slot in self.slots.values():
            if saves:
                self.save_unheard(slot)
        self.killed()
        self.study = self.reopened()
        self.begin()

    # -------------------------------------------------------------- what slots do

    def holding(self) -> bool:
        return any(slot.held for slot in self.slots.values())

    def pick(self, data: st.DataObject) -> Slot:
        return self.slots[data.draw(st.sampled_from(sorted(self.slots)))]

    def forget(self, slot: Slot) -> None:
        del self.slots[slot.name]
        self.gone += [(slot.name, one) for one in slot.held]

    def save_unheard(self, slot: Slot) -> None:
        """Its process dies between a checkpoint and the report of that step."""
        for one in slot.held:
            self.save(slot, one, one.step + 1)

    def save(self, slot: Slot, one: Training, step: int) -> None:
        """What a checkpoint rests on is in SQL before it is there."""
        saving = Saving(one.given.number, one.given.attempt)
        if self.coordinator.exchange(slot.name, [saving], 0).verdicts != (Verdict.REFUSED,):
            self.checkpoints[one.given.number] = step

    def one_round(self, slot: Slot, act: Any, value: Any) -> None:
        news: list[News] = []
        reporting: list[Training] = []
        for one in list(slot.held):
            ended = self.next_news(slot, one, act(), value)
            if isinstance(ended, Report):
                reporting.append(one)
            elif ended is not None:
                slot.held.remove(one)
            if ended is not None:
                news.append(ended)
        holds = [one.given.number for one in slot.held]
        answer = self.coordinator.exchange(slot.name, news, slot.rows - len(slot.held), holds)
        for one, verdict in zip(reporting, answer.verdicts, strict=True):
            one.verdict = verdict
            if verdict is Verdict.PUT_BACK:
                self.save(slot, one, one.step)
            elif verdict is not Verdict.GO_ON:
                slot.held.remove(one)
        for given in answer.assignments:
            self.take(slot, given)
        if answer.over:
            assert not slot.held
            del self.slots[slot.name]

    def next_news(self, slot: Slot, one: Training, act: str, value: Any) -> News | None:
        number, attempt = one.given.number, one.given.attempt
        if one.verdict is Verdict.PUT_BACK:
            return Released(number, attempt)
        match act:
            case "wait":
                return None
            case "crash":
                return Crashed(number, attempt, "ValueError: no")
            case "leave":
                return Released(number, attempt)
        if one.step >= STEPS:
            return Finished(number, attempt)
        one.step += 1
        if act == "save":
            self.save(slot, one, one.step)
        said = float("nan") if act == "nan" else value()
        return Report(number, attempt, one.step, {"score": said}, saved=act == "save")

    def take(self, slot: Slot, given: Assignment) -> None:
        assert not [other for other in self.slots.values() for one in other.held if one.given.number == given.number]
        assert given.attempt > self.attempts[given.number]
        self.attempts[given.number] = given.attempt
        assert self.seen.setdefault(given.number, (given.seed, dict(given.params))) == (given.seed, given.params)
        stored = self.as_others_see()[given.number]
        assert (stored.state, stored.params) == (TrialState.RUNNING, given.params)
        # one that goes on from a checkpoint repeats the report of its step
        slot.held.append(Training(given, max(self.checkpoints.get(given.number, 0) - 1, 0)))
        assert len(slot.held) <= slot.rows

    # ------------------------------------------------------------------ invariants

    @invariant()
    def what_always_holds(self) -> None:
        if not hasattr(self, "plan"):
            return
        trials = self.study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished()]
        running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
        assert len(ended) <= self.plan.trials
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert running >= {one.given.number for slot in self.slots.values() for one in slot.held}
        snapshot = self.coordinator.snapshot()
        assert sum(snapshot.counts.values()) == len(ended)
        assert snapshot.running == len(running) <= self.plan.in_flight(4)
        check_ends(ended)

    def teardown(self) -> None:
        if hasattr(self, "plan"):
            self.the_run_ends_and_another_begins()
            self.finish()
            self.check_end()
            self.closed()

    def finish(self) -> None:
        """Undisturbed now, it must come to its end."""
        for _ in range(1000):
            if self.coordinator.tick()[0].over:
                break
            self.slots_start(2)
            for slot in list(self.slots.values()):
                self.one_round(slot, lambda: "report", lambda: 0.5)
        assert self.coordinator.close("done").over

    def check_end(self) -> None:
        trials = self.as_others_see()
        assert len(trials) == self.plan.trials
        assert all(trial.state.is_finished() for trial in trials)
        check_ends(trials)


def check_ends(trials: list[FrozenTrial]) -> None:
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        assert trial.user_attrs.get("reason") if trial.state != TrialState.COMPLETE else trial.values
        if trial.state == TrialState.PRUNED:
            assert trial.values == [trial.intermediate_values[steps[-1]]]


class SqlMachine(Machine):
    """The same on SQLite, where a kill loses what was not committed, read by a stock Optuna."""

    def new_study(self) -> optuna.Study:
        self.folder = tempfile.TemporaryDirectory()
        return self.reopened()

    def reopened(self) -> optuna.Study:
        self.storage, study = open_sqlite(Path(self.folder.name), self.plan)
        return study

    def killed(self) -> None:
        kill(self.storage)

    def closed(self) -> None:
        self.storage.close()

    def storage_of(self) -> StudyStorage:
        return self.storage

    def as_others_see(self) -> list[FrozenTrial]:
        return in_sql(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "plan"):
            self.folder.cleanup()


TestInMemory = Machine.TestCase
TestInMemory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestInSql = SqlMachine.TestCase
TestInSql.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
