"""A coordinator driven by hand: slots are method calls, time is a number."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Answer, Assignment, Crashed, Finished, Released, Report
from hpo.search.plan import Objective, SearchPlan
from hpo.search.pruners import pruners
from hpo.search.samplers import samplers
from hpo.space import Choice, Float, Int, Space
from hpo.storage import StudyStorage, open_storage
from hpo.training import Verdict

SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "kind": Choice({"plain": {}, "deep": {"depth": Int(1, 3)}})})
PLAN = SearchPlan(
    study="study",
    space=SPACE,
    objectives=(Objective("score", "maximize"),),
    sampler=samplers.parse("random"),
    pruner=pruners.parse("none"),
    seed=0,
    max_resource=9,
    trials=8,
    pack="auto",
    slots=1,
)


def plan(**changes: Any) -> SearchPlan:
    """PLAN with changes; samplers and pruners by name or as mappings."""
    for name, registry in (("sampler", samplers), ("pruner", pruners)):
        if name in changes:
            changes[name] = registry.parse(changes[name])
    return replace(PLAN, **changes)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Memory(optuna.storages.InMemoryStorage):
    """Optuna's, which looks for WAITING trials only behind the last that it saw waiting: one put back is forgotten."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        with self._lock:
            self._prev_waiting_trial_number = dict.fromkeys(self._prev_waiting_trial_number, 0)
        return super().set_trial_state_values(trial_id, state, values)


def memory_study(wanted: SearchPlan = PLAN) -> optuna.Study:
    """An empty study in Optuna's own memory."""
    directions = [objective.direction for objective in wanted.objectives]
    return optuna.create_study(study_name=wanted.study, storage=Memory(), directions=directions)


class Sweep:
    """A coordinator and its slots `a`, `b` ... on a study."""

    def __init__(
        self,
        wanted: SearchPlan = PLAN,
        study: optuna.Study | None = None,
        *,
        clock: Clock | None = None,
        seconds: float = 0.0,
        slots: str = "ab",
        storage: StudyStorage | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan = wanted
        self.study = study or memory_study(wanted)
        self.clock = clock or Clock()
        if storage is not None:
            flush = storage.flush
        batch = nullcontext if storage is None else storage.batch
        self.recorded: list[tuple[int, int, dict[str, float]]] = []
        self.noted: list[tuple[str, str, int | None]] = []
        live = LiveStudy(
            self.study,
            wanted,
            flush,
            lambda number: f"logs/{number}.log",
            batch,
            lambda trial_id, step, metrics: self.recorded.append((trial_id, step, dict(metrics))),
            lambda kind, text, trial: self.noted.append((kind, text, trial)),
        )
        self.coordinator = Coordinator(live, wanted, seconds, clock=self.clock)
        for slot in slots:
            self.coordinator.open_slot(slot)

    def again(self, wanted: SearchPlan | None = None, seconds: float = 0.0) -> Sweep:
        """A new run on the same study."""
        return Sweep(wanted or self.plan, self.study, clock=self.clock, seconds=seconds)

    def ask(self, slot: str = "a", free: int = 1) -> tuple[Assignment, ...]:
        return self.coordinator.exchange(slot, [], free).assignments

    def one(self, slot: str = "a") -> Assignment:
        (given,) = self.ask(slot)
        return given

    def report(
        self, given: Assignment, step: int, score: float, slot: str = "a", saved: bool = False, **more: float
    ) -> Verdict:
        said = Report(given.number, given.attempt, step, {"score": score, **more}, saved)
        (verdict,) = self.coordinator.exchange(slot, [said], 0).verdicts
        return verdict

    def finish(
        self,
        given: Assignment,
        slot: str = "a",
        unread: tuple[str, ...] = (),
        by_class: Mapping[str, Any] | None = None,
        **returned: float,
    ) -> Answer:
        return self.coordinator.exchange(slot, [Finished(given.number, given.attempt, returned, unread, by_class)], 0)

    def crash(self, given: Assignment, reason: str = "ValueError: no", slot: str = "a", retryable: bool = True) -> None:
        self.coordinator.exchange(slot, [Crashed(given.number, given.attempt, reason, retryable)], 0)

    def release(self, given: Assignment, slot: str = "a") -> None:
        self.coordinator.exchange(slot, [Released(given.number, given.attempt)], 0)

    def complete(self, score: float = 0.5, slot: str = "a", **ended: Any) -> Assignment:
        """One whole trial."""
        given = self.one(slot)
        self.report(given, 1, score, slot)
        self.finish(given, slot, **ended)
        return given

    def trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.get_trials(deepcopy=False)]

    def reason(self, number: int) -> str:
        return self.trial(number).user_attrs["reason"]


def score(params: Mapping[str, Any], step: int) -> float:
    """A curve that hangs on the parameters only."""
    return step / 10 - abs(params["lr"] - 0.1) - 0.01 * params.get("depth", 0)


def run_to_end(sweep: Sweep, slot: str = "a", steps: int = 9) -> None:
    """Train in one slot until there is no more; trials that were put back start over."""
    while True:
        answer = sweep.coordinator.exchange(slot, [], 1)
        if answer.over or not answer.assignments:
            return
        given = answer.assignments[0]
        for step in range(1, steps + 1):
            verdict = sweep.report(given, step, score(given.params, step), slot)
            if verdict is Verdict.PUT_BACK:
                sweep.release(given, slot)
            if verdict is not Verdict.GO_ON:
                break
        else:
            sweep.finish(given, slot)


def essence(study: optuna.Study) -> list[tuple[Any, ...]]:
    """All that must not hang on where and when a trial ran."""
    trials = study.get_trials(deepcopy=False)
    return [
        (t.number, t.state.name, t.params, t.values, dict(sorted(t.intermediate_values.items())), t.user_attrs["seed"])
        for t in trials
    ]


def open_sqlite(folder: Path, wanted: SearchPlan = PLAN) -> tuple[StudyStorage, optuna.Study]:
    """The study in a file of `folder`, made when it is not there."""
    storage = open_storage(f"sqlite:///{folder / 'study.db'}")
    if not storage.exists(wanted.study):
        storage.create_study(wanted.study, [objective.direction for objective in wanted.objectives])
    return storage, optuna.load_study(study_name=wanted.study, storage=storage.optuna)


def kill(storage: StudyStorage) -> None:
    """What kill -9 of its process leaves: the connections are gone and what was not committed with them."""
    storage.optuna._release()
    gc.collect()


def in_sql(folder: Path, name: str = PLAN.study) -> list[FrozenTrial]:
    """The trials as a stock Optuna reads them from the file."""
    url = f"sqlite:///{folder / 'study.db'}"
    storage = RDBStorage(url, engine_kwargs={"poolclass": NullPool}, skip_compatibility_check=True)
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(name))
    finally:
        storage.engine.dispose()
