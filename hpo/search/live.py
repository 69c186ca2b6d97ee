"""The study while a run works on it: Optuna's ask, report, prune and tell, and the attributes kept beside them.

Only the coordinator uses it. It decides nothing about slots or budgets; it keeps the study's book.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.search import attributes
from hpo.search.messages import Assignment, TrialEnd
from hpo.search.plan import SearchPlan
from hpo.search.samplers import seeded
from hpo.search.seeds import trial_seed
from hpo.search.states import FINAL, Event, State, TrialStatus, advance


@dataclass
class OpenTrial:
    """A RUNNING trial: who trains it, since when, and what it has said in this attempt."""

    trial: optuna.Trial
    status: TrialStatus
    slot: str
    assignment: Assignment
    started: float
    last_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    steps_said: int = 0

    @property
    def number(self) -> int:
        """Optuna's number of the trial."""
        return self.trial.number


class LiveStudy:
    """Optuna's study under one run.

    flush: makes everything written so far durable. log_path: names the log file of a trial by its number.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: SearchPlan,
        flush: Callable[[], None],
        log_path: Callable[[int], str] | None = None,
    ) -> None:
        self._plan = plan
        self._flush = flush
        self._log_path = log_path
        study.sampler = seeded(plan.sampler.build(plan.seed, plan.space), plan.seed)
        study.pruner = plan.pruner.build(plan.max_resource)
        self.study = study
        self.exhausted = False
        self.counts: Counter[State] = Counter()
        self.best: TrialEnd | None = None
        self._complete_before = False
        for trial in study.get_trials(deepcopy=False):
            self._count_old(trial)

    def _count_old(self, trial: optuna.trial.FrozenTrial) -> None:
        state = State(trial.state.name)
        if state in FINAL:
            self.counts[state] += 1
            seconds = trial.duration.total_seconds() if trial.duration else 0.0
            value = trial.values[0] if trial.values else None
            self._consider(TrialEnd(trial.number, state, value, None, seconds, trial.params))

    def adopt(self) -> list[int]:
        """Put the RUNNING trials of a dead run back, to be asked again under their own numbers, lowest first."""
        dead = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in dead:
            self._set_waiting(trial.number, trial._trial_id, "its run ended")
        self._flush()
        return [trial.number for trial in dead]

    def ask(self, slot: str, now: float) -> OpenTrial:
        """The next trial: one that was put back or enqueued if there is any, else a new suggestion."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's notices on samplers and fallbacks are for its own users
            trial = self.study.ask()
            params = self._plan.space.suggest(trial)
        attempts = int(trial.user_attrs.get(attributes.ATTEMPT, 0))
        status = advance(TrialStatus(trial.number, State.WAITING, attempts), Event.START)
        seed = trial_seed(self._plan.seed, trial.number)
        trial.set_user_attr(attributes.ATTEMPT, status.attempt)
        if attempts == 0:
            trial.set_user_attr(attributes.SEED, seed)
            if self._log_path is not None:
                trial.set_user_attr(attributes.LOG, self._log_path(trial.number))
        return OpenTrial(trial, status, slot, Assignment(trial.number, status.attempt, seed, params), now)

    def report(self, one: OpenTrial, step: int, metrics: Mapping[str, float]) -> bool:
        """Record one step; whether the pruner wants the trial stopped.

        A step the study already has (a trial that started again behind its reports) is neither written nor decided
        anew. Raises ValueError with the reason when the report cannot be used.
        """
        value = self._objective_value(metrics, step)
        if one.last_step is not None and step <= one.last_step:
            raise ValueError(f"step {step} was reported after step {one.last_step}; steps have to grow")
        one.last_step = step
        one.metrics.update(metrics)
        one.steps_said += 1
        one.status = advance(one.status, Event.REPORT)
        if step in one.trial._cached_frozen_trial.intermediate_values:
            return False
        if len(self._plan.objectives) > 1:  # Trial.report refuses several objectives; the first one's curve is kept
            self.study._storage.set_trial_intermediate_value(one.trial._trial_id, step, value)
            one.trial._cached_frozen_trial.intermediate_values[step] = value
            return False
        one.trial.report(value, step)
        return bool(one.trial.should_prune())

    def _objective_value(self, metrics: Mapping[str, float], step: int | None) -> float:
        where = "" if step is None else f" at step {step}"
        for objective in self._plan.objectives:
            if objective.metric not in metrics:
                said = ", ".join(sorted(metrics)) or "nothing"
                raise ValueError(f"the objective {objective.metric!r} was not reported{where} (reported: {said})")
            if not math.isfinite(metrics[objective.metric]):
                raise ValueError(f"{objective.metric} is {metrics[objective.metric]}{where}")
        return float(metrics[self._plan.objectives[0].metric])

    def prune(self, one: OpenTrial) -> TrialEnd:
        """End a trial as PRUNED, with the pruner's reason."""
        reason = self._plan.pruner.reason(self.study, one.trial._cached_frozen_trial)
        return self._end(one, Event.PRUNE, None, reason)

    def finish(self, one: OpenTrial, returned: Mapping[str, float]) -> TrialEnd:
        """End a trial as COMPLETE; what it returned counts as its last report. Raises ValueError like `report`."""
        one.metrics.update(returned)
        self._objective_value(one.metrics, None)
        values = []
        curve = one.trial._cached_frozen_trial.intermediate_values
        for index, objective in enumerate(self._plan.objectives):
            value = float(one.metrics[objective.metric])
            if objective.at == "best" and index == 0 and curve:
                step, top = max(
                    curve.items(), key=lambda item: item[1] if objective.direction == "maximize" else -item[1]
                )
                if not objective.better(value, top):
                    value = top
                    one.trial.set_user_attr(attributes.BEST_STEP, step)
            values.append(value)
        return self._end(one, Event.FINISH, values, None)

    def crash(self, one: OpenTrial, reason: str) -> TrialEnd:
        """End a trial as FAIL."""
        return self._end(one, Event.CRASH, None, reason)

    def put_back(self, one: OpenTrial, event: Event, reason: str, attribute: str | None = None) -> None:
        """Make a trial WAITING again under its own number; `attribute` is a counter that grows by one."""
        one.status = advance(one.status, event, reason)
        if attribute is not None:
            one.trial.set_user_attr(attribute, int(one.trial.user_attrs.get(attribute, 0)) + 1)
        self._set_waiting(one.number, one.trial._trial_id, reason)

    def _set_waiting(self, number: int, trial_id: int, reason: str) -> None:
        storage = self.study._storage
        storage.set_trial_user_attr(trial_id, attributes.REASON, f"put back: {reason}")
        # someone else (the dashboard) ended it meanwhile: their state stands
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def _end(self, one: OpenTrial, event: Event, values: list[float] | None, reason: str | None) -> TrialEnd:
        one.status = advance(one.status, event, reason)
        objective_names = {objective.metric for objective in self._plan.objectives}
        others = {
            name: value for name, value in one.metrics.items() if name not in objective_names and math.isfinite(value)
        }
        if others:
            one.trial.set_user_attr(attributes.METRICS, others)
        if reason is not None or attributes.REASON in one.trial.user_attrs:
            one.trial.set_user_attr(attributes.REASON, reason or "")
        self._tell(one, values)
        self.counts[one.status.state] += 1
        told = self.study._storage.get_trial(one.trial._trial_id)
        seconds = told.duration.total_seconds() if told.duration else 0.0
        value = told.values[0] if told.values else None
        end = TrialEnd(one.number, one.status.state, value, reason, seconds, one.assignment.params)
        self._consider(end)
        return end

    def _tell(self, one: OpenTrial, values: list[float] | None) -> None:
        state = TrialState[one.status.state.name]
        try:
            self.study.tell(one.number, values, state=state)
        except RuntimeError as error:
            # samplers that are exhausted call Study.stop, which Optuna allows inside `optimize` only
            if "stop" not in str(error):
                raise
            self.exhausted = True
        except ValueError:
            # the dashboard ended it meanwhile: its word stands
            if not self.study._storage.get_trial(one.trial._trial_id).state.is_finished():
                raise

    def _consider(self, end: TrialEnd) -> None:
        if end.state is State.COMPLETE and end.value is not None:
            objective = self._plan.objectives[0]
            if self.best is None or self.best.value is None or objective.better(end.value, self.best.value):
                self.best = end

    def set_run(self, run: Mapping[str, Any]) -> None:
        """Record where the study is worked on and for how long it has been."""
        self.study.set_user_attr(attributes.RUN, dict(run))

    def flush(self) -> None:
        """Make everything written so far durable."""
        self._flush()
