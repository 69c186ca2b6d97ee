"""The study while a run works on it: Optuna's ask, report, prune and tell, and the attributes kept beside them.

Only the coordinator uses it. It decides nothing about slots or budgets; it keeps the study's book.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import UserError
from hpo.search import attributes
from hpo.search.constraints import KEY, feasible
from hpo.search.keeping import Keeping
from hpo.search.messages import Assignment, Lead, TrialEnd
from hpo.search.open_trial import OpenTrial, count, said_before, trial_end
from hpo.search.plan import SearchPlan
from hpo.search.samplers import seeded
from hpo.search.seeds import trial_seed
from hpo.search.speeds import Speeds
from hpo.search.states import FINAL, Event, State, TrialStatus, advance

_ENQUEUED = "fixed_params"  # Optuna's own mark of a trial that somebody enqueued


class Unusable(Exception):
    """A report or result that cannot be used; the text is what the trial fails with."""


class EndedElsewhere(Exception):
    """Somebody else, a dashboard say, ended this trial meanwhile. Their word stands."""


@contextlib.contextmanager
def _unless_ended_elsewhere() -> Iterator[None]:
    try:
        yield
    except UpdateFinishedTrialError:
        raise EndedElsewhere from None


def _no_record(trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
    del trial_id, step, metrics


def _no_note(kind: str, text: str, trial: int | None) -> None:
    del kind, text, trial


class LiveStudy:
    """Optuna's study under one run.

    flush: makes everything written so far durable. log_path: names the log file of a trial by its number.
    batch: a block whose writes are committed together when it ends. record: keeps what a trial (by its id) reports at
    a step besides the objective. note: notes what the run did: kind, sentence, trial's number. Both go with the next
    flush. speeds: what slots measured.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: SearchPlan,
        flush: Callable[[], None],
        log_path: Callable[[int], str] | None = None,
        batch: Callable[[], AbstractContextManager[None]] = nullcontext,
        record: Callable[[int, int, Mapping[str, float]], None] = _no_record,
        note: Callable[[str, str, int | None], None] = _no_note,
        speeds: Speeds | None = None,
    ) -> None:
        self._plan = plan
        self._log_path = log_path
        self._record, self._note = record, note
        self.flush, self.batch = flush, batch
        study.sampler = seeded(plan.sampler.build(plan.seed, plan.space), plan.seed)
        study.pruner = plan.pruner.build(plan.max_resource)
        self.study = study
        self.limit = plan.sampler.limit(plan.space)
        self.counts: Counter[State] = Counter()
        self.best: TrialEnd | None = None
        self.keeping = Keeping(plan.keep, plan.objectives[0])
        self.speeds = speeds or Speeds()
        self._stopped = False
        self._alone: set[int] = set()  # numbers of WAITING trials
        self._points: set[frozenset[tuple[str, str]]] = set()
        self.recount()
        self._begin()
        for trial in self._trials():
            self._note_point(trial.params)
            if trial.user_attrs.get(attributes.ALONE) and not trial.state.is_finished():
                self._alone.add(trial.number)

    # ------------------------------------------------------------ the study

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _begin(self) -> None:
        """The recommended values of a fresh study's space are its first trial; what has none is drawn.

        Not where the sampler gives every point of the space anyway.
        """
        defaults = self._plan.space.defaults()
        if defaults and self.limit is None and not self._trials():
            self.study.enqueue_trial(defaults, user_attrs={attributes.DEFAULT: True})

    def recount(self) -> None:
        """Count the ended trials and find the best one anew: others may have told or added some."""
        self.counts = Counter()
        for trial in self._trials():
            state = State(trial.state.name)
            if state in FINAL:
                self.counts[state] += 1
                self._consider(trial, state)
        self.keeping.hear(trial for trial in self._trials() if trial.state.is_finished())

    def log(self, kind: str, text: str, trial: int | None = None) -> None:
        """Note what the run did; for people."""
        self._note(kind, text, trial)

    def adopt(self, why: str) -> list[int]:
        """Put all RUNNING trials back, to be asked again under their own numbers; these, lowest first."""
        adopted = []
        for trial in self._trials(TrialState.RUNNING):
            with contextlib.suppress(EndedElsewhere):
                self._set_waiting(trial._trial_id, why)
                adopted.append(trial.number)
        self.flush()
        return adopted

    def left(self, most: int) -> int:
        """How many trials can be asked now, looking no further than `most`.

        Those that were put back or enqueued, then what the sampler has not given out yet: with several slots a grid
        would otherwise give points twice.
        """
        if most <= 0 or not self._finite:
            return max(most, 0)
        new = 0 if self._stopped or self.limit is None else max(self.limit - len(self._points), 0)
        return min(most, new + len(self._trials(TrialState.WAITING)))

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing new to give."""
        return self._finite and self.left(1) == 0

    @property
    def _finite(self) -> bool:
        return self._stopped or self.limit is not None

    def _note_point(self, params: Mapping[str, Any]) -> None:
        if self.limit is None:
            return
        with contextlib.suppress(UserError):  # half asked when its run died, or enqueued outside the space
            self._plan.space.validate(params)
            self._points.add(frozenset((path, repr(value)) for path, value in params.items()))

    # ---------------------------------------------------------- one trial

    def next_is_alone(self) -> bool:
        """Whether the trial that is asked next must not train beside others."""
        if not self._alone:
            return False
        return min((trial.number for trial in self._trials(TrialState.WAITING)), default=-1) in self._alone

    def ask(self, slot: str, now: float, structure: Mapping[str, Any] | None = None) -> OpenTrial:
        """The next trial: one that was put back or enqueued if there is any, else a new suggestion.

        structure: values of parameters that a new suggestion takes as they are.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's notices on samplers and fallbacks are for its own users
            trial = self.study.ask()
            is_new = not trial._cached_frozen_trial.params and not trial._fixed_params
            if structure and is_new:
                trial._fixed_params = dict(structure)  # as if it was enqueued with them, but for this once
            params, misfit = self._suggest(trial)
        settings, misfit = self._settings(params, misfit)
        known = trial._cached_frozen_trial
        attempts = count(known, attributes.ATTEMPT)
        status = advance(TrialStatus(trial.number, State.WAITING, attempts), Event.START)
        seed = trial_seed(self._plan.seed, trial.number)
        metrics = said_before(known, self._plan.objectives[0].metric)
        trial.set_user_attr(attributes.ATTEMPT, status.attempt)
        if self._plan.workers > max(count(known, attributes.WORKERS), 1):
            trial.set_user_attr(attributes.WORKERS, self._plan.workers)
        if attempts == 0:
            trial.set_user_attr(attributes.SEED, seed)
            if self._log_path is not None:
                trial.set_user_attr(attributes.LOG, self._log_path(trial.number))
        self._note_point(params)
        self._alone.discard(trial.number)
        alone = bool(known.user_attrs.get(attributes.ALONE))
        decided, lead = self._plan.pruner.decides, self._lead()
        assignment = Assignment(trial.number, status.attempt, seed, settings, decided, lead, alone)
        return OpenTrial(trial, status, slot, assignment, now, metrics=metrics, misfit=misfit, is_new=is_new)

    def _suggest(self, trial: optuna.Trial) -> tuple[dict[str, Any], str | None]:
        try:
            return self._plan.space.suggest(trial), None
        except (ValueError, TypeError) as error:
            known = trial._cached_frozen_trial
            if _ENQUEUED not in known.system_attrs:
                raise
            return dict(known.params), f"it was enqueued with values that do not fit: {' '.join(str(error).split())}"

    def _settings(self, params: Mapping[str, Any], misfit: str | None) -> tuple[dict[str, Any], str | None]:
        """What the parameters mean for the configuration, or why they cannot be trained."""
        if misfit is not None:
            return dict(params), misfit
        try:
            return self._plan.space.settings(params), None
        except UserError as error:
            return dict(params), str(error)

    @_unless_ended_elsewhere()
    def report(self, one: OpenTrial, step: int, metrics: Mapping[str, float]) -> bool:
        """Record one step; whether the pruner wants the trial stopped.

        A step the study already has (a trial that started again behind its reports) is neither written nor decided
        anew. Raises Unusable, with the reason, and EndedElsewhere.
        """
        value = self._objective_value(metrics, f" at step {step}")
        if one.last_step is not None and step <= one.last_step:
            raise Unusable(f"step {step} was reported after step {one.last_step}; steps have to grow")
        one.last_step = step
        one.metrics.update(metrics)
        one.status = advance(one.status, Event.REPORT)
        if step in one.known.intermediate_values:
            return False
        try:
            self._write(one, step, value)
            others = {name: float(said) for name, said in metrics.items() if name != self._plan.objectives[0].metric}
            if others:
                self._record(one.trial._trial_id, step, others)
        except ValueError as error:  # what no database holds: a negative or enormous step
            raise Unusable(f"step {step} cannot be stored: {' '.join(str(error).split())}") from None
        # a pruner looks at the last step there is; one that fills a gap says nothing about it
        return len(self._plan.objectives) == 1 and step == one.known.last_step and one.trial.should_prune()

    def _write(self, one: OpenTrial, step: int, value: float) -> None:
        if len(self._plan.objectives) == 1:
            one.trial.report(value, step)
        else:  # Trial.report refuses several objectives; the first one's curve is kept
            self.study._storage.set_trial_intermediate_value(one.trial._trial_id, step, value)
            one.known.intermediate_values[step] = value

    def _objective_value(self, metrics: Mapping[str, float], where: str = "") -> float:
        for objective in self._plan.objectives:
            if objective.metric not in metrics:
                said = ", ".join(sorted(metrics)) or "nothing"
                raise Unusable(f"the objective {objective.metric!r} was not reported{where} (reported: {said})")
            if not math.isfinite(metrics[objective.metric]):
                raise Unusable(f"{objective.metric} is {metrics[objective.metric]}{where}")
        return float(metrics[self._plan.objectives[0].metric])

    def prune(self, one: OpenTrial) -> TrialEnd:
        """End a trial as PRUNED, with the pruner's reason. Raises EndedElsewhere."""
        return self._end(one, Event.PRUNE, None, self._plan.pruner.reason(self.study, one.known))

    def finish(
        self, one: OpenTrial, returned: Mapping[str, float], by_class: Mapping[str, Any] | None = None
    ) -> TrialEnd:
        """End a trial as COMPLETE; what it returned counts as its last report. Raises Unusable and EndedElsewhere.

        by_class: of its last weights, kept when it is the best so far.
        """
        one.metrics.update(returned)
        self._objective_value(one.metrics)
        if (unjudged := self._plan.constraints.unjudged(one.metrics)) is not None:
            raise Unusable(unjudged)
        values = [float(one.metrics[objective.metric]) for objective in self._plan.objectives]
        first = self._plan.objectives[0]
        best_step = None
        if first.at == "best":
            for step, value in sorted(one.known.intermediate_values.items()):
                if first.better(value, values[0]) or (value == values[0] and best_step is None):
                    values[0], best_step = value, step
        if by_class is not None and self._plan.constraints.met_by(one.metrics) and self._leads(values[0]):
            self._set_by_class(one, by_class)
        return self._end(one, Event.FINISH, values, None, best_step)

    def crash(self, one: OpenTrial, reason: str) -> TrialEnd:
        """End a trial as FAIL. Raises EndedElsewhere."""
        return self._end(one, Event.CRASH, None, reason)

    @_unless_ended_elsewhere()
    def put_back(
        self, one: OpenTrial, event: Event, reason: str, attribute: str | None = None, alone: bool = False
    ) -> None:
        """Make a trial WAITING again under its own number; `attribute` is a counter that grows by one.

        alone: it goes on without company. Raises EndedElsewhere.
        """
        one.status = advance(one.status, event, reason)
        if attribute is not None:
            one.trial.set_user_attr(attribute, one.count(attribute) + 1)
        if alone:
            one.trial.set_user_attr(attributes.ALONE, True)
        # should its checkpoint lie behind the last report, nothing but this says what was reported
        self._set_metrics(one, {self._plan.objectives[0].metric})
        self._set_waiting(one.trial._trial_id, reason)
        if one.known.user_attrs.get(attributes.ALONE):
            self._alone.add(one.number)

    @_unless_ended_elsewhere()
    def note_packed(self, one: OpenTrial) -> None:
        """Note, before anything rests on it, that a trial trains in a pack. Raises EndedElsewhere."""
        if not one.known.user_attrs.get(attributes.PACKED):
            one.trial.set_user_attr(attributes.PACKED, True)

    @_unless_ended_elsewhere()
    def reset(self, one: OpenTrial, attribute: str) -> None:
        """Set a counter to 0. Raises EndedElsewhere."""
        if one.count(attribute):
            one.trial.set_user_attr(attribute, 0)

    @_unless_ended_elsewhere()
    def _set_waiting(self, trial_id: int, reason: str) -> None:
        self.study._storage.set_trial_user_attr(trial_id, attributes.REASON, f"put back: {reason}")
        self.study._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    @_unless_ended_elsewhere()
    def _set_by_class(self, one: OpenTrial, by_class: Mapping[str, Any]) -> None:
        one.trial.set_user_attr(attributes.BY_CLASS, dict(by_class))

    def _set_metrics(self, one: OpenTrial, but: set[str]) -> None:
        others = {name: value for name, value in one.metrics.items() if name not in but and math.isfinite(value)}
        if others or attributes.METRICS in one.known.user_attrs:
            one.trial.set_user_attr(attributes.METRICS, others)

    @_unless_ended_elsewhere()
    def _end(
        self,
        one: OpenTrial,
        event: Event,
        values: list[float] | None,
        reason: str | None,
        best_step: int | None = None,
    ) -> TrialEnd:
        one.status = advance(one.status, event, reason)
        self._set_metrics(one, {objective.metric for objective in self._plan.objectives})
        if best_step is not None:
            one.trial.set_user_attr(attributes.BEST_STEP, best_step)
        if reason is not None or attributes.REASON in one.known.user_attrs:
            one.trial.set_user_attr(attributes.REASON, reason or "")
        if one.checkpoint is not None:
            one.trial.set_user_attr(attributes.CHECKPOINT, one.checkpoint)
        held = self._plan.constraints.violations(one.metrics)
        if held and event is not Event.CRASH:
            self.study._storage.set_trial_system_attr(one.trial._trial_id, KEY, held)
        self._tell(one, values)
        self.counts[one.status.state] += 1
        told = self.study._storage.get_trial(one.trial._trial_id)
        self._consider(told, one.status.state)
        self.keeping.hear([told])
        return trial_end(told, one.status.state, reason)

    def _tell(self, one: OpenTrial, values: list[float] | None) -> None:
        if self.study._storage.get_trial(one.trial._trial_id).state.is_finished():
            raise EndedElsewhere
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as in `ask`: of a sampler that has no use for constraints
                self.study.tell(one.trial, values, state=TrialState[one.status.state.name])
        except UpdateFinishedTrialError:
            raise
        except (RuntimeError, KeyError) as error:
            # The trial is told; what failed is the sampler's look at it. Exhausted samplers call Study.stop, which
            # Optuna allows inside `optimize` only, and GridSampler trips over trials that somebody enqueued.
            if "Study.stop" in str(error):
                self._stopped = True
            elif _ENQUEUED not in one.known.system_attrs:
                raise

    def _consider(self, trial: FrozenTrial, state: State) -> None:
        """With several objectives the best is that of the first."""
        if state is not State.COMPLETE or not trial.values or not feasible(trial):
            return
        if self._leads(trial.values[0]):
            self.best = trial_end(trial, state, None)

    def _leads(self, value: float) -> bool:
        best = self.best
        return best is None or best.value is None or self._plan.objectives[0].better(value, best.value)

    def _lead(self) -> Lead | None:
        if len(self._plan.objectives) > 1:
            return None
        (objective,) = self._plan.objectives
        return Lead(objective.metric, objective.direction == "maximize", self.best.value if self.best else None)
