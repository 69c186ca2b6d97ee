"""Whose curves count, when trials are told by others too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.search.pruners import pruners
from hpo.search.pruning.percentile import _AtStep
from hpo.storage import StudyStorage, open_storage
from hpo.testing.storage import plain_storage

MEDIAN = {"name": "median", "n_startup_trials": 0}


def _study(storage: StudyStorage) -> optuna.Study:
    storage.create_study("s", ["maximize"])
    return optuna.load_study(
        study_name="s",
        storage=storage.optuna,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruners.parse(MEDIAN).build(None),
    )


def _stops(study: optuna.Study, value: float) -> bool:
    trial = study.ask()
    trial.report(value, 1)
    stop = trial.should_prune()
    study.tell(trial, state=TrialState.FAIL)
    return stop


def test_a_trial_that_others_ended_first_counts_as_they_ended_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with open_storage(url) as storage:
        study = _study(storage)
        for value in (0.25, 0.75):
            trial = study.ask()
            trial.report(value, 1)
            if value == 0.25:
                study.tell(trial, value)
        storage.flush()
        with plain_storage(url) as plain:
            optuna.load_study(study_name="s", storage=plain).tell(1, state=TrialState.FAIL)
        with storage.batch():
            study.tell(1, 0.75)
            other = study.ask()
            other.report(0.5, 1)
            storage.optuna.get_trial(other._trial_id)
        assert study.trials[1].state == TrialState.FAIL
        assert not _stops(study, 0.375)  # the only curve left is the one with 0.25
        assert _stops(study, 0.125)


def test_a_trial_read_again_from_the_database_costs_no_new_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    looked: list[int] = []
    look = _AtStep.look

    def counted(self: _AtStep, trials: Any, step: int) -> None:
        looked.append(len(trials) - self.seen)
        look(self, trials, step)

    monkeypatch.setattr(_AtStep, "look", counted)
    with open_storage(url) as storage:
        study = _study(storage)
        for value in (0.25, 0.5):
            trial = study.ask()
            trial.report(value, 1)
            study.tell(trial, value)
        assert _stops(study, 0.125)
        memory: Any = storage.optuna
        kept = memory._studies[study._study_id]
        with plain_storage(url) as plain:
            for again in plain.get_all_trials(study._study_id)[:2]:
                kept.put(again)
        assert _stops(study, 0.125)
    assert looked == [2, 0]
