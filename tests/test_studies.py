"""Reading studies: where one stands, who works on it, which is best; nothing is made by looking."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import hpo
from hpo.errors import NotFound, UserError
from hpo.holding import process_started
from hpo.search import attributes
from hpo.storage import open_storage
from hpo.studies import StudyStatus, all_statuses, best_trials, choose_storage, opened, status, trial_folder
from tests.held import SINCE, holder, record_run
from tests.launching import Launcher

SPEC = {"keys": {"name": "s", "objective": {"metric": "score"}, "budget": {"trials": 5}}, "digests": {}, "folder": "/"}
Make = Callable[..., optuna.Study]


def trial(value: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return create_trial(state=state, value=value)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'hpo.db'}"


@pytest.fixture
def make(url: str) -> Make:
    """A study in SQL as a launch would leave it. run: of its last run, as for `record_run`; keys: changed keys."""

    def made(*trials: FrozenTrial, run: dict[str, Any] | None = None, **keys: Any) -> optuna.Study:
        stored = {**SPEC, "keys": {**SPEC["keys"], **keys}}
        attrs = {attributes.SWEEP: json.dumps(stored)}
        with open_storage(url) as storage:
            storage.create_study("s", ["maximize"], attrs)
            study = optuna.load_study(study_name="s", storage=storage.optuna)
            study.add_trials(list(trials))
        if run is not None:
            record_run(url, "s", **run)
        return hpo.load_study("s", url)

    return made


def standing(study: optuna.Study, url: str) -> StudyStatus:
    """Where it stands, with its runs."""
    with open_storage(url) as storage:
        return status(study, storage.records(study.study_name).runs())


# ---------------------------------------------------------------------------------------------------- where to look


def test_the_flag_goes_before_the_environment_before_the_file_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HPO_STORAGE", "sqlite:///environment.db")
    assert choose_storage("sqlite:///flag.db", "sqlite:///file.db") == ("sqlite:///flag.db", "--storage")
    assert choose_storage(None, "sqlite:///file.db") == ("sqlite:///environment.db", "HPO_STORAGE")
    monkeypatch.setenv("HPO_STORAGE", "")
    assert choose_storage(None, "sqlite:///file.db") == ("sqlite:///file.db", "the sweep file")
    monkeypatch.delenv("HPO_STORAGE")
    assert choose_storage(None) == ("sqlite:///hpo.db", "the default")


def test_an_absent_database_is_named_and_not_made(tmp_path: Path, url: str) -> None:
    for look in (lambda: hpo.load_study("s", url), lambda: opened("s", url).__enter__(), lambda: all_statuses(url)):
        with pytest.raises(NotFound) as error:
            look()
        assert str(error.value) == f"no database at sqlite:///{tmp_path}/hpo.db (--storage)"
        assert error.value.hint == "hpo launch makes one; --storage URL or HPO_STORAGE name another"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_study_is_an_error_with_those_that_exist(make: Make, url: str) -> None:
    make()
    with pytest.raises(NotFound, match="no study named 'x' in ") as error:
        hpo.load_study("x", url)
    assert error.value.hint == "studies there: s"


def test_looking_at_an_empty_file_writes_nothing_into_it(tmp_path: Path, url: str) -> None:
    (tmp_path / "hpo.db").touch()
    assert all_statuses(url)[0] == []
    assert (tmp_path / "hpo.db").stat().st_size == 0


def test_no_password_is_in_any_error() -> None:
    for place in ("postgresql://me:s3cret@127.0.0.1:1/db", "postgresql://me@127.0.0.1:1/db?password=s3cret"):
        for look in (lambda: hpo.load_study("s", place), lambda: all_statuses(place)):  # noqa: B023
            with pytest.raises(UserError) as error:
                look()
            assert "s3cret" not in f"{error.value} {error.value.hint} {error.value!r}"
            assert "***" in str(error.value)
            assert error.value.__cause__ is None, "a driver's words would be printed with a traceback"


def test_files_lie_beside_sqlite_and_below_the_working_directory_for_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert trial_folder("sqlite:////data/deep/hpo.db") == Path("/data/deep")
    assert trial_folder("postgresql://h/db") == tmp_path


# ------------------------------------------------------------------------------------------------- where it stands


def test_a_living_process_runs_its_study(make: Make, url: str) -> None:
    found = standing(make(trial(1.0), run={}), url)
    assert found.state == "running"
    assert found.reason == f"{holder()}, last heard of at {SINCE.astimezone().isoformat(timespec='seconds')}"
    assert found.reason.startswith(f"process {os.getpid()} on {socket.gethostname()}, since 2026-01-01T")
    assert (found.done, found.total, found.seconds) == (1, 5, 4.5)
    assert not found.can_go_on


def test_a_dead_process_leaves_its_study_interrupted(make: Make, url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = {"pid": process.pid, "process_started": process_started(process.pid)}
    process.kill()
    process.communicate()
    found = standing(make(trial(1.0), trial(None, TrialState.RUNNING), run=run), url)
    assert (found.state, found.reason) == ("interrupted", f"process {process.pid} on {socket.gethostname()} is gone")
    assert found.counts["RUNNING"] == 1
    assert found.can_go_on


def test_a_process_of_another_host_is_believed(make: Make, url: str) -> None:
    assert standing(make(trial(1.0), run={"host": "elsewhere", "process_started": 1.0}), url).state == "running"


def test_seconds_are_those_of_all_runs(make: Make, url: str) -> None:
    study = make(trial(1.0), run={"ended": "done"})
    record_run(url, "s", "time used up", seconds=10.0)
    assert (standing(study, url).seconds, standing(study, url).reason) == (14.5, "time used up")


@pytest.mark.parametrize(
    ("trials", "record", "expected"),
    [
        (5, {"ended": "done"}, ("done", None)),
        (7, {"ended": "stopped by SIGINT"}, ("done", None)),
        (2, {"ended": "stopped by SIGINT"}, ("stopped", "stopped by SIGINT")),
        (2, {"ended": "time used up"}, ("stopped", "time used up")),
        (0, None, ("not started", None)),
    ],
)
def test_the_state_follows_from_trials_and_the_record_of_the_run(
    make: Make, url: str, trials: int, record: dict[str, Any] | None, expected: tuple[str, str | None]
) -> None:
    found = standing(make(*[trial(1.0)] * trials, run=record), url)
    assert (found.state, found.reason) == expected
    assert found.can_go_on == (expected[0] != "done")


def test_a_study_limited_by_time_alone_has_no_total(make: Make, url: str) -> None:
    found = standing(make(trial(1.0), run={"ended": "time used up"}, budget={"time": "10m"}), url)
    assert (found.total, found.done, found.state) == (None, 1, "stopped")


def test_every_ended_trial_counts_and_the_best_is_a_complete_one(make: Make) -> None:
    states = (TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING)
    study = make(trial(0.5), trial(0.75), *(trial(9.0 if s is TrialState.PRUNED else None, s) for s in states))
    found = status(study, [])
    assert found.done == 4
    assert found.counts == {"COMPLETE": 2, "PRUNED": 1, "FAIL": 1, "RUNNING": 0, "WAITING": 1}
    assert [(best.number, best.values) for best in found.best] == [(1, (0.75,))]
    assert found.metrics == ("score",)


def test_without_a_complete_trial_there_is_no_best(make: Make) -> None:
    study = make(trial(0.5, TrialState.PRUNED))
    assert status(study, []).best == ()
    with pytest.raises(NotFound, match="study 's' has no COMPLETE trial yet") as error:
        best_trials(study)
    assert error.value.hint == "hpo trials s"


def test_a_study_of_plain_optuna_is_read_as_any_other(url: str) -> None:
    plain = optuna.create_study(study_name="plain", storage=url, directions=["minimize", "maximize"])
    plain.add_trials([create_trial(values=values) for values in ((1.0, 1.0), (2.0, 2.0), (3.0, 1.5))])
    (found,), _ = all_statuses(url)
    assert (found.state, found.total, found.done, found.can_go_on) == ("made without hpo", None, 3, False)
    assert [best.number for best in found.best] == [0, 1], "the front"
    assert found.metrics == ("value 0", "value 1")
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        plain.set_metric_names(["loss", "score"])
    assert status(hpo.load_study("plain", url), []).metrics == ("loss", "score")
    with pytest.raises(UserError, match="study 'plain' was not made by hpo"):
        hpo.resume("plain", storage=url)


# -------------------------------------------------------------------------------------------------- plain tools


def test_a_loaded_study_is_an_ordinary_one(digits: tuple[Launcher, Any]) -> None:
    study = hpo.load_study("digits", digits[0].url)
    assert type(study) is optuna.Study
    assert len(study.trials) == 12
    assert study.best_value == max(t.value for t in study.trials if t.state.name == "COMPLETE")
    assert "params_optimizer.lr" in study.trials_dataframe().columns


def test_plain_optuna_without_hpo_sees_the_study(digits: tuple[Launcher, Any], tmp_path: Path) -> None:
    program = """
import json, sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hpo", "search_spaces", "ray", "torch"):
            raise ImportError(name)

sys.meta_path.insert(0, Guard())
import optuna
study = optuna.load_study(study_name="digits", storage=sys.argv[1])
print(json.dumps([
    [t.number, t.state.name, t.value, t.params, sorted(t.intermediate_values.items())] for t in study.trials
]))
"""
    command = [sys.executable, "-I", "-c", program, digits[0].url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    seen = json.loads(done.stdout)
    assert [number for number, *_ in seen] == list(range(12))
    assert {state for _, state, *_ in seen} == {"COMPLETE", "PRUNED"}
    for (_, state, value, params, curve), ours in zip(seen, digits[0].trials("digits"), strict=True):
        assert params == ours.params
        assert set(params) >= {"optimizer.lr", "regularization.dropout", "schedule.name"}
        assert [step for step, _ in curve] == list(range(1, len(curve) + 1))
        assert value == curve[-1][1]
        assert len(curve) == 5 or state == "PRUNED"
