"""What TPE reads of a study: also what somebody else had decided before us, and what no array can hold."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.search.parzen.history import History, Unlike
from hpo.search.parzen.sampler import IndexedTPE
from hpo.storage import open_storage
from hpo.testing.storage import plain_storage

X = {"x": FloatDistribution(0, 1)}


def test_a_trial_that_somebody_else_ended_first_is_learned_as_they_ended_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with open_storage(url) as storage:
        storage.create_study("s", ["minimize"])
        study = optuna.load_study(study_name="s", storage=storage.optuna)
        trials = [study.ask(X) for _ in range(3)]
        study.tell(trials[0], 0.5)
        storage.flush()
        history = History(study)
        with plain_storage(url) as plain:
            optuna.load_study(study_name="s", storage=plain).tell(1, 0.25)
        with storage.batch():
            study.tell(trials[1], 0.75)
            history.refresh()
            assert len(history) == 2
            assert history.best(1) == [0]
        history.refresh()
        assert history.best(1) == [1]
        assert len(history) == 2


def test_one_name_for_two_kinds_of_choices_is_left_to_optuna() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for choices in (("a", "b"), ("b", "c")):
        domains = {"kind": CategoricalDistribution(choices)}
        study.add_trial(create_trial(params={"kind": choices[0]}, distributions=domains, value=0.5))
    with pytest.raises(Unlike):
        History(study).refresh()
    study.sampler = IndexedTPE(n_startup_trials=0, multivariate=True)
    assert 0 <= study.ask(X).params["x"] <= 1


def test_a_trial_put_back_is_not_counted_until_it_runs_again() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    history = History(study)
    trial = study.ask(X)
    history.refresh()
    assert history.running(but=9, space={}, drawn=True) == [0]
    assert history.running(but=0, space={}, drawn=True) == []
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    history.refresh()
    assert history.running(but=9, space={}, drawn=True) == []
    study.ask()
    history.refresh()
    assert history.running(but=9, space={}, drawn=True) == [0]
