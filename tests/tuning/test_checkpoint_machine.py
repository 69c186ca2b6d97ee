"""Checkpoints under everything that can happen, in any order: never one too few, and in the end none too many.

Real files and the real coordinator; the database is what its last flush left, and any process may be killed between
any two steps.
"""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.search.messages import Answer, Assignment, Checkpointed, Crashed, Finished, Lost, News, Report
from hpo.training import Verdict
from hpo.training.checkpoint import TrialCheckpoints
from hpo.tuning.files import TrialFiles
from hpo.tuning.sharing import tidied
from tests.search.driving import Sweep, memory_study, plan

ACTS = ["report", "report", "save", "save", "finish", "finish", "crash"]
VALUES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])
FINAL = 99  # the step of a state of the end


class Killed(BaseException):
    """kill -9, in the middle of something."""


@dataclass
class Training:
    """A trial in a slot's hands. step: reported last."""

    given: Assignment
    store: TrialCheckpoints
    step: int


class Machine(RuleBasedStateMachine):
    """Two slots of one trial each. saved: the step to which each trial can go back, by the attempts that held it."""

    def __init__(self) -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    @initialize(keep=st.integers(0, 3), direction=st.sampled_from(["maximize", "minimize"]))
    def start(self, keep: int, direction: str) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        path = Path(self.folder.name)
        self.files = TrialFiles(str(path), str(path / "kept"), keep=keep)
        (objective,) = plan().objectives
        self.plan = plan(
            trials=60, slots=2, retries=1, keep=keep, max_in_a_row=10**6, pruner={"name": "threshold", "lower": 0.2},
            objectives=(type(objective)("score", direction),),
        )  # fmt: skip
        self.saved: dict[int, int] = {}
        self.stale: list[Training] = []
        self.flushes = self.kill_at = 0
        self.durable = pickle.dumps(memory_study(self.plan)._storage)
        self.begin()

    def begin(self) -> None:
        self.storage: InMemoryStorage = pickle.loads(self.durable)
        self.study = optuna.load_study(study_name=self.plan.study, storage=self.storage)
        with tidied(self.files, self.plan, lambda: self.study.get_trials(deepcopy=False), apart=False):
            pass  # what a run does before its first trial
        self.sweep = Sweep(self.plan, self.study, slots="ab", flush=self.flush)
        self.sweep.coordinator._live.batch = self.batch
        self.held: dict[str, Training | None] = {"a": None, "b": None}

    def flush(self) -> None:
        """Where a process is killed: before what was decided is durable, or right after."""
        self.flushes += 1
        if self.kill_at == -self.flushes:
            raise Killed
        self.durable = pickle.dumps(self.storage)
        if self.kill_at == self.flushes:
            raise Killed

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """As the storage's: ends are committed together when the block is left."""
        yield
        if [trial.state for trial in self.study.get_trials(deepcopy=False)] != [trial.state for trial in self.rows()]:
            self.flush()

    # ---------------------------------------------------------------- the rules

    @rule(slot=st.sampled_from("ab"), value=VALUES, acts=st.lists(st.sampled_from(ACTS), min_size=3, max_size=8))
    def a_slot_works(self, slot: str, value: float, acts: list[str]) -> None:
        for act in acts:
            one = self.held[slot] or self.ask(slot)
            if one is None:
                return
            if act in ("finish", "crash"):
                self.end(slot, one, value, crashes=act == "crash")
            else:
                self.report(slot, one, value, saves=act == "save")

    def ask(self, slot: str) -> Training | None:
        for given in self.say(slot, [], 1).assignments:
            store = TrialCheckpoints(self.files.place(), given.number, given.attempt)
            step = (store.load() or {}).get("step", 0)
            assert step >= self.saved.get(given.number, 0)
            self.held[slot] = Training(given, store, step)
        return self.held[slot]

    def report(self, slot: str, one: Training, value: float, *, saves: bool) -> None:
        one.step += 1
        answer = self.say(slot, [Report(one.given.number, one.given.attempt, one.step, {"score": value})], 0)
        if self.held[slot] is not one:
            return
        if answer.verdicts != (Verdict.GO_ON,):
            self.held[slot] = None
        elif saves:
            self.save(one, one.step)

    def end(self, slot: str, one: Training, value: float, *, crashes: bool) -> None:
        number, attempt = one.given.number, one.given.attempt
        if not crashes:
            self.save(one, FINAL)
        where = [Checkpointed(number, attempt, one.store.where)] if one.store.where else []
        end = Crashed(number, attempt, "no") if crashes else Finished(number, attempt, {"score": value})
        self.held[slot] = None
        self.say(slot, [*where, end], 0)

    @precondition(lambda self: any(self.held.values()))
    @rule(slot=st.sampled_from("ab"), half=st.booleans())
    def a_slot_dies(self, slot: str, half: bool) -> None:
        one, self.held[slot] = self.held[slot], None
        if one is not None and half:
            name = f"{one.given.number}.{one.given.attempt}.pt.4711.new"
            (self.files.place().folder / name).parent.mkdir(exist_ok=True)
            (self.files.place().folder / name).write_bytes(b"half")
        elif one is not None:
            self.stale.append(one)
        try:
            self.sweep.coordinator.lost(slot, Lost("node", "gone"))
            self.sweep.coordinator._allotment._fenced.discard(slot)  # its successor goes by its name
        except Killed:
            self.everything_is_killed()

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), more=st.integers(0, 5))
    def someone_given_up_saves_what_it_has(self, data: st.DataObject, more: int) -> None:
        one = data.draw(st.sampled_from(self.stale))
        if not self.rows()[one.given.number].state.is_finished():
            one.step += more
            one.store.save({"step": one.step}, one.step)

    @precondition(lambda self: not self.kill_at)
    @rule(flush=st.integers(1, 6), before=st.booleans())
    def the_next_exchange_is_its_processes_last(self, flush: int, before: bool) -> None:
        self.kill_at = -(self.flushes + flush) if before else self.flushes + flush

    @precondition(lambda self: any(self.held.values()))
    @rule()
    def everything_is_killed(self) -> None:
        self.stale += [one for one in self.held.values() if one is not None]
        self.kill_at = 0
        self.begin()

    @precondition(lambda self: any(self.held.values()))
    @rule()
    def the_run_ends_and_another_begins(self) -> None:
        self.kill_at = 0
        self.sweep.coordinator.close("stopped")
        self.begin()
        self.exactly()

    # -------------------------------------------------------------- what they do

    def say(self, slot: str, news: list[News], free: int) -> Answer:
        """An exchange; the slot deletes what it is told to, unless one of the two is killed before."""
        try:
            answer = self.sweep.coordinator.exchange(slot, news, free)
        except Killed:
            self.everything_is_killed()
            return Answer()
        self.files.remove(self.files.place(), answer.drop)
        return answer

    def save(self, one: Training, step: int) -> None:
        assert one.store.save({"step": step}, step)
        self.saved[one.given.number] = step

    def rows(self) -> list[FrozenTrial]:
        """The trials as whoever reads the database now would find them."""
        found: InMemoryStorage = pickle.loads(self.durable)
        return found.get_all_trials(0, deepcopy=False)

    # ------------------------------------------------------------------ invariants

    @invariant()
    def never_one_too_few(self) -> None:
        if not hasattr(self, "plan"):
            return
        trials = self.rows()
        needed = self.kept(trials) | {trial.number for trial in trials if not trial.state.is_finished()}
        for number in needed & set(self.saved):
            found = TrialCheckpoints(self.files.place(), number, 10**6).load()
            assert found is not None, f"trial {number} has lost its checkpoint"
            assert found["step"] >= self.saved[number]
            if trials[number].state == TrialState.COMPLETE:
                assert found["step"] == FINAL

    def kept(self, trials: list[FrozenTrial]) -> set[int]:
        """The rule once more, in other words."""
        if not self.plan.keep:
            return set()
        sign = -1 if self.plan.objectives[0].direction == "maximize" else 1
        complete = sorted((sign * t.values[0], t.number) for t in trials if t.state == TrialState.COMPLETE)
        ended = sorted((t.datetime_complete, t.number) for t in trials if t.state.is_finished())
        return {number for _, number in complete[: self.plan.keep]} | {number for _, number in ended[-1:]}

    def exactly(self) -> None:
        """After a run and the tidying that follows it: no file that nobody needs."""
        trials = self.rows()
        alive = self.kept(trials) | {trial.number for trial in trials if not trial.state.is_finished()}
        names = self.files.place().names()
        numbers = [int(name.split(".")[0]) for name in names]
        assert set(numbers) <= alive
        assert not [name for name in names if name.endswith(".new")]
        of_kept = [number for number in numbers if trials[number].state.is_finished()]
        assert len(of_kept) == len(set(of_kept)), "one file for each that is kept"

    def teardown(self) -> None:
        if hasattr(self, "plan"):
            self.the_run_ends_and_another_begins()
            self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
