"""What others wrote into our studies: the dashboard's notes and tags, trials enqueued or told by a bare Optuna.

Looking is one read transaction a study; merging keeps whatever of ours is not written yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpo.storage import loader
from hpo.storage.batch import Batch
from hpo.storage.memory import StudyMemory, evolve
from hpo.storage.tables import STUDY_SYSTEM, STUDY_USER, TRIAL_SYSTEM, TRIAL_USER, Cells


@dataclass(frozen=True)
class Question:
    """What must be known of a study in memory to look for news of it."""

    study_id: int
    last_id: int
    open: dict[int, TrialState]
    ours: frozenset[int]
    stale: frozenset[int]


@dataclass(frozen=True)
class News:
    """What the database holds.

    study: None when it is gone, or another one under its old id.
    whole: trials that are new, or that somebody else changed or may be changing.
    user, system: attributes by id of open trials that are ours.
    """

    study: FrozenStudy | None
    whole: list[FrozenTrial]
    user: dict[int, dict[str, Any]]
    system: dict[int, dict[str, Any]]


def question(study: StudyMemory, stale: set[int]) -> Question:
    """stale: trials known to differ from the database, whoever changed them."""
    states = {trial_id: study.trial(trial_id).state for trial_id in study.open}
    ours = frozenset(study.ours & study.open)
    return Question(study.id, study.last_id, states, ours, frozenset(stale.intersection(study.trial_ids())))


def look(connection: sa.Connection, asked: Question) -> News:
    """Answer in one transaction; costs a few selects, whose size goes with the number of open trials."""
    study = loader.study(connection, asked.study_id)
    if study is None:
        return News(None, [], {}, {})
    states = loader.states_by_id(connection, asked.open)
    changed = {
        trial_id
        for trial_id, state in states.items()
        if state != asked.open[trial_id] or (state == TrialState.RUNNING and trial_id not in asked.ours)
    }
    whole = loader.trials_by_id(connection, changed | asked.stale)
    whole += loader.trials_of_study(connection, asked.study_id, after=asked.last_id)
    rest = set(asked.open) - changed
    return News(
        study,
        whole,
        loader.trial_attrs(connection, TRIAL_USER, rest),
        loader.trial_attrs(connection, TRIAL_SYSTEM, rest),
    )


def merge(study: StudyMemory, news: News, pending: Batch, stale: frozenset[int]) -> None:
    """Take the news into memory. What waits in `pending` is newer and stays, except in `stale` and finished trials."""
    assert news.study is not None
    study.user_attrs = _overlay(study.user_attrs, news.study.user_attrs, pending, STUDY_USER, study.id)
    study.system_attrs = _overlay(study.system_attrs, news.study.system_attrs, pending, STUDY_SYSTEM, study.id)
    busy = pending.trial_ids() - stale
    for trial in news.whole:
        if trial.state.is_finished() or trial._trial_id not in busy:
            study.put(trial)
            study.ours.discard(trial._trial_id)
    for trial_id in news.user.keys() | news.system.keys():
        old = study.trial(trial_id)
        user = _overlay(old.user_attrs, news.user.get(trial_id, {}), pending, TRIAL_USER, trial_id)
        system = _overlay(old.system_attrs, news.system.get(trial_id, {}), pending, TRIAL_SYSTEM, trial_id)
        if not old.state.is_finished() and (user is not old.user_attrs or system is not old.system_attrs):
            new = evolve(old)
            new.user_attrs, new.system_attrs = user, system
            study.put(new)


def _overlay(old: dict[str, Any], stored: dict[str, Any], pending: Batch, cells: Cells, owner: int) -> dict[str, Any]:
    """`old` itself when the stored attributes say nothing new."""
    fresh = {
        key: value
        for key, value in stored.items()
        if (key not in old or repr(old[key]) != repr(value)) and not pending.holds(cells, owner, key)
    }
    return {**old, **fresh} if fresh else old
