"""What the figures ask of a study: its objectives, its spec, the values and the order of its trials."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.report.look import NothingToShow
from hpo.search import attributes
from hpo.search.constraints import feasible
from hpo.training.by_class import ByClass


@dataclass(frozen=True)
class Objective:
    """One objective of a study: its place in `trial.values`, its name, and whether more is better."""

    index: int
    name: str
    maximize: bool

    def better(self, new: float, old: float) -> bool:
        """Whether `new` beats `old`."""
        return new > old if self.maximize else new < old


def trials_of(study: Study, *states: TrialState) -> list[FrozenTrial]:
    """The trials in these states (all, when none is named) in order of their numbers. Not to be changed."""
    return study.get_trials(deepcopy=False, states=states or None)


def spec_of(study: Study) -> Mapping[str, Any]:
    """The keys of the sweep, in their canonical form; empty for a study that hpo did not make."""
    raw = study.user_attrs.get(attributes.SWEEP)
    if not isinstance(raw, str):
        return {}
    try:
        stored = json.loads(raw)
    except ValueError:
        return {}
    keys = stored.get("keys") if isinstance(stored, dict) else None
    return keys if isinstance(keys, dict) else {}


def objectives(study: Study) -> list[Objective]:
    """The study's objectives; names from the spec, else Optuna's metric names, else `value`."""
    spec = spec_of(study)
    named = spec.get("objectives") or ([spec["objective"]] if spec.get("objective") else [])
    names = [str(one.get("metric")) for one in named if isinstance(one, dict) and one.get("metric")]
    directions = study.directions
    if len(names) != len(directions):
        names = list(study.metric_names or [])
    if len(names) != len(directions):
        names = ["value"] if len(directions) == 1 else [f"value {i}" for i in range(len(directions))]
    return [Objective(i, names[i], d == StudyDirection.MAXIMIZE) for i, d in enumerate(directions)]


def value_of(trial: FrozenTrial, objective: Objective) -> float | None:
    """The trial's value of this objective when there is a finite one."""
    if trial.values is None or objective.index >= len(trial.values):
        return None
    value = trial.values[objective.index]
    return value if value is not None and math.isfinite(value) else None


def ranked(study: Study, objective: Objective) -> list[FrozenTrial]:
    """The trials that may win, best first: COMPLETE, feasible, with a finite value; ties go to the earlier one."""
    scored = [(value_of(t, objective), t) for t in trials_of(study, TrialState.COMPLETE) if feasible(t)]
    able = [(v, t) for v, t in scored if v is not None]
    sign = -1 if objective.maximize else 1
    return [t for _, t in sorted(able, key=lambda pair: (sign * pair[0], pair[1].number))]


def leaders(study: Study, most: int) -> list[FrozenTrial]:
    """The best trials, best first; the Pareto front, in order of number, when there are several objectives."""
    named = objectives(study)
    if len(named) == 1:
        return ranked(study, named[0])[:most]
    if not trials_of(study, TrialState.COMPLETE):
        return []
    return study.best_trials[:most]


def why_no_winner(study: Study) -> str:
    """Why there are no `leaders`, as the beginning of a sentence."""
    done = any(t.values is not None and not feasible(t) for t in trials_of(study, TrialState.COMPLETE))
    return "No trial meets the constraints" if done else "No trial has completed"


def winner_by_class(study: Study) -> ByClass:
    """What the winner's network takes for what; NothingToShow without a single winner, or when it was not kept."""
    trial = _single_winner(study)
    if trial is None:
        raise NothingToShow("There is no single winner.")
    if attributes.BY_CLASS not in trial.user_attrs:
        raise NothingToShow(f"Nothing was kept by class for trial {trial.number}.")
    try:
        # from JSON, where lists are tuples
        return ByClass.model_validate_json(json.dumps(trial.user_attrs[attributes.BY_CLASS]))
    except ValueError:
        raise NothingToShow(f"What was kept by class for trial {trial.number} cannot be read.") from None


def has_by_class(study: Study) -> bool:
    """Whether there is a single winner and its network was measured by class."""
    trial = _single_winner(study)
    return trial is not None and attributes.BY_CLASS in trial.user_attrs


def note_on_weights(study: Study) -> str:
    """A sentence where the winner's value is not of its last weights, which are those that are measured by class."""
    trial = _single_winner(study)
    step = None if trial is None else trial.user_attrs.get(attributes.BEST_STEP)
    if trial is None or step in (None, trial.last_step):
        return ""
    word = step_word(study)
    return f" Measured at its end, after {word} {trial.last_step}; its value is of {word} {step}."


def _single_winner(study: Study) -> FrozenTrial | None:
    best = leaders(study, 1) if len(objectives(study)) == 1 else []
    return best[0] if best else None


def finished(study: Study) -> list[FrozenTrial]:
    """All trials that ended, in whatever state; NothingToShow when there is none."""
    ended = [t for t in trials_of(study) if t.state.is_finished()]
    if not ended:
        raise NothingToShow("No trial has ended yet.")
    return ended


def step_word(study: Study) -> str:
    """What a report's step is called: epochs for a task, steps for a loop of the user's own."""
    return "epoch" if spec_of(study).get("task") else "step"
