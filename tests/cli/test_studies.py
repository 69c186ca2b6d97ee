"""`hpo status`, `trials`, `best`, `studies`: what is read of a study, for people and as JSON."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.search import attributes
from hpo.storage import open_storage
from tests.cli.conftest import Hpo
from tests.held import record_run
from tests.launching import Launcher


@pytest.fixture
def study(digits: tuple[Launcher, Any], monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    """The launched study of digits, in the storage that commands look at."""
    monkeypatch.setenv("HPO_STORAGE", digits[0].url)
    return optuna.load_study(study_name="digits", storage=digits[0].url)


def made(folder: Path, name: str, directions: list[str], trials: list[Any], **attrs: Any) -> str:
    """A study in a database in `folder`; its URL."""
    url = f"sqlite:///{folder / 'hpo.db'}"
    with open_storage(url) as storage:
        storage.create_study(name, directions, attrs)
        optuna.load_study(study_name=name, storage=storage.optuna).add_trials(trials)
    return url


# ---------------------------------------------------------------------------------------------------- a done study


def test_status_says_where_a_study_stands(hpo: Hpo, study: optuna.Study) -> None:
    done = hpo("status", "digits")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    complete = sum(trial.state.name == "COMPLETE" for trial in study.trials)
    best = study.best_trial
    assert lines[0] == "study   digits: done, 12 of 12 trials ended"
    assert lines[1] == f"trials  {complete} COMPLETE, {12 - complete} PRUNED"
    assert lines[2] == f"best    trial {best.number}: val_accuracy {best.value:.6g}"
    assert [line.split() for line in lines[3:]] == [
        [name, f"{value:.4g}" if isinstance(value, float) else value] for name, value in best.params.items()
    ]


def test_status_as_json(hpo: Hpo, study: optuna.Study) -> None:
    done = hpo("status", "digits", "--json")
    assert done.err == ""
    found = json.loads(done.out)
    assert (found["name"], found["state"], found["reason"], found["done"], found["total"]) == (
        "digits",
        "done",
        None,
        12,
        12,
    )
    assert sum(found["counts"].values()) == 12
    assert found["best"] == [json.loads(hpo("best", "digits", "--json").out)]
    assert found["seconds"] > 0


def test_best_shows_the_winner(hpo: Hpo, study: optuna.Study) -> None:
    assert hpo("best", "digits").out == "\n".join(hpo("status", "digits").out.splitlines()[2:]) + "\n"
    found = json.loads(hpo("best", "digits", "--json").out)
    best = study.best_trial
    expected = {"study": "digits", "number": best.number, "values": {"val_accuracy": best.value}, "params": best.params}
    assert found == {**expected, "settings": best.params, "packed": False}


def test_trials_are_a_table(hpo: Hpo, study: optuna.Study) -> None:
    head, *rows = hpo("trials", "digits").out.splitlines()
    assert head.split() == ["trial", "state", "value", "steps", "reason", "parameters"]
    assert [row.split()[:2] for row in rows] == [[str(trial.number), trial.state.name] for trial in study.trials]
    reasons = head.index("reason")
    for row, trial in zip(rows, study.trials, strict=True):
        pruned = row[reasons:].startswith("pruned at step ")
        assert pruned == (trial.state is TrialState.PRUNED)
        assert f"optimizer.lr={trial.params['optimizer.lr']:.4g}" in row
        assert row == row.rstrip()


def test_one_trial_is_shown_in_full(hpo: Hpo, study: optuna.Study) -> None:
    best = study.best_trial
    text = hpo("trials", "digits", best.number).out
    assert text.startswith(f"trial {best.number}: COMPLETE {best.value:.6g}\n")
    for step, value in best.intermediate_values.items():
        assert f"\nstep {step}: {value:.6g}\n" in text
    for name in ("train_loss", "val_loss", "val_recall", "val_f1"):
        assert f"\n{name} at the end: " in text
    assert f"\nseed: {best.user_attrs['seed']}\n" in text
    log = re.search(r"^log: (.+)$", text, re.MULTILINE)
    assert log is not None
    assert Path(log[1]).is_file()
    pruned = next(trial for trial in study.trials if trial.state is TrialState.PRUNED)
    assert f"\nreason: pruned at step {pruned.last_step} by hyperband" in hpo("trials", "digits", pruned.number).out


def test_trials_as_json(hpo: Hpo, study: optuna.Study) -> None:
    found = json.loads(hpo("trials", "digits", "--json").out)
    assert [one["number"] for one in found] == list(range(12))
    assert found[3] == json.loads(hpo("trials", "digits", 3, "--json").out)
    for one, trial in zip(found, study.trials, strict=True):
        assert (one["state"], one["values"], one["params"]) == (trial.state.name, trial.values, trial.params)
        assert datetime.datetime.fromisoformat(one["ended"]) == trial.datetime_complete
        assert "T" in one["started"]


def test_studies_are_listed(hpo: Hpo, study: optuna.Study) -> None:
    head, row = hpo("studies").out.splitlines()
    assert head.split() == ["study", "state", "trials", "best"]
    value = f"{study.best_value:.6g}"
    assert row.split() == [
        "digits",
        "done",
        "12",
        "of",
        "12",
        "val_accuracy",
        value,
        "(trial",
        f"{study.best_trial.number})",
    ]
    assert [one["name"] for one in json.loads(hpo("studies", "--json").out)] == ["digits"]


# --------------------------------------------------------------------------------------- running, stopped, foreign


@pytest.mark.parametrize(
    ("record", "state", "goes_on"),
    [
        ({}, r"running \(process \d+ on .+, since 2026-\S+, last heard of at 2026-\S+\)", False),
        ({"process_started": 1.0}, r"interrupted \(process \d+ on .+ is gone\)", True),
        ({"ended": "time used up"}, r"stopped \(time used up\)", True),
    ],
)
def test_a_study_that_is_not_done(hpo: Hpo, tmp_path: Path, record: dict[str, Any], state: str, goes_on: bool) -> None:
    keys = {"name": "s", "objective": {"metric": "score"}, "budget": {"trials": 60}}
    attrs = {attributes.SWEEP: json.dumps({"keys": keys})}
    url = made(tmp_path, "s", ["maximize"], [create_trial(value=1.0)], **attrs)
    record_run(url, "s", **record)
    done = hpo("status", "s", "--storage", url)
    assert re.fullmatch(rf"study   s: {state}, 1 of 60 trials ended", done.out.splitlines()[0])
    assert done.err == (f"\ngo on with  hpo resume s --storage {url}\n" if goes_on else "")


def test_several_objectives_have_a_front(hpo: Hpo, tmp_path: Path) -> None:
    space = {"x": FloatDistribution(0, 1)}
    values = [(1.0, 1.0), (2.0, 2.0), (3.0, 1.5)]
    trials = [create_trial(values=pair, params={"x": 0.5}, distributions=space) for pair in values]
    goals = [{"metric": "loss"}, {"metric": "score"}]
    stored = json.dumps({"keys": {"objectives": goals, "budget": {"trials": 3}}})
    url = made(tmp_path, "two", ["minimize", "maximize"], trials, **{attributes.SWEEP: stored})
    text = hpo("best", "two", "--storage", url).out
    assert [line for line in text.splitlines() if line.startswith("best")] == [
        "best    trial 0: loss 1, score 1",
        "best    trial 1: loss 2, score 2",
    ]
    found = json.loads(hpo("best", "two", "--storage", url, "--json").out)
    assert [one["values"] for one in found] == [{"loss": 1.0, "score": 1.0}, {"loss": 2.0, "score": 2.0}]
    assert "front   2 trials, see  hpo best two" in hpo("status", "two", "--storage", url).out
    assert "front of 2" in hpo("studies", "--storage", url).out


def test_a_study_of_plain_optuna_is_shown_and_not_resumed(hpo: Hpo, tmp_path: Path) -> None:
    url = made(tmp_path, "plain", ["maximize"], [create_trial(value=1.0), create_trial(state=TrialState.FAIL)])
    assert re.search(r"^plain +made without hpo +2 +value 1 \(trial 0\)$", hpo("studies", "--storage", url).out, re.M)
    assert hpo("status", "plain", "--storage", url).out.startswith("study   plain: made without hpo, 2 trials ended\n")
    assert "1      FAIL" in hpo("trials", "plain", "--storage", url).out
    for command in ("resume", "export"):
        refused = hpo(command, "plain", "--storage", url)
        said = "error: study 'plain' was not made by hpo: no sweep is kept with it\n"
        assert (refused.code, refused.out, refused.err) == (2, "", said)


def test_infinite_values_are_null_in_json(hpo: Hpo, tmp_path: Path) -> None:
    odd = create_trial(value=float("inf"), intermediate_values={1: float("nan"), 2: float("-inf")})
    found = json.loads(hpo("trials", "odd", "0", "--json", "--storage", made(tmp_path, "odd", ["maximize"], [odd])).out)
    assert found["values"] == [None]
    assert found["intermediate_values"] == {"1": None, "2": None}


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("command", [["status", "s"], ["trials", "s"], ["best", "s"], ["studies"], ["resume", "s"]])
def test_an_absent_database_is_not_made(hpo: Hpo, tmp_path: Path, command: list[str]) -> None:
    for more in ([], ["--json"]):
        done = hpo(*command, "--storage", f"sqlite:///{tmp_path / 'absent.db'}", *more)
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            f"error: no database at sqlite:///{tmp_path}/absent.db (--storage)",
            "",
            "hint: hpo launch makes one; --storage URL or HPO_STORAGE name another",
        ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "trials", "best", "resume", "export", "report"])
def test_an_unknown_study_is_named_with_the_nearest(hpo: Hpo, study: optuna.Study, command: str) -> None:
    done = hpo(command, "digit")
    assert (done.code, done.out) == (2, "")
    assert re.search(r"^error: no study named 'digit' in sqlite:////.+; did you mean 'digits'\?$", done.err, re.M)
    assert done.err.endswith("\nhint: studies there: digits\n")


def test_an_unknown_trial_is_an_error(hpo: Hpo, study: optuna.Study) -> None:
    done = hpo("trials", "digits", 12)
    assert (done.code, done.err) == (2, "error: study 'digits' has no trial 12; its trials are 0 to 11\n")


@pytest.mark.parametrize("command", [["status", "s"], ["studies"], ["resume", "s"], ["export", "s"], ["dashboard"]])
@pytest.mark.parametrize(
    "place", ["postgresql://me:s3cret@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db?password=s3cret"]
)
def test_no_password_is_printed(hpo: Hpo, command: list[str], place: str) -> None:
    done = hpo(*command, "--storage", place)
    assert done.code == 2
    assert "s3cret" not in done.out + done.err
    assert re.search(r"^error: storage: cannot use postgresql://.*\*\*\*.*Connection refused$", done.err, re.M)


# ------------------------------------------------------------------------------------------ tables and the run's book


def test_trials_go_to_a_table_and_with_curves_to_one_of_every_value(
    hpo: Hpo, study: optuna.Study, tmp_path: Path
) -> None:
    assert hpo("trials", "digits", "-o", tmp_path / "t.csv").out == f"{tmp_path / 't.csv'}\n"
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + len(study.trials)
    assert hpo("trials", "digits", "-o", tmp_path / "c.csv", "--curves").code == 0
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "trial,step,name,value"
    objective = [line for line in lines if ",val_accuracy," in line]
    assert len(objective) == sum(len(trial.intermediate_values) for trial in study.trials)
    wrong = hpo("trials", "digits", "-o", tmp_path / "t.xls")
    assert (wrong.code, wrong.out) == (2, "")
    assert "ends in .csv, .parquet, found '.xls'" in wrong.err


def test_the_log_says_what_runs_did_and_holds_no_password(
    hpo: Hpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = made(tmp_path, "logged", ["minimize"], [])
    monkeypatch.setenv("HPO_STORAGE", url)
    done = hpo("log", "logged")
    assert (done.code, done.out) == (0, "")
    assert "hpo never ran it" in done.err
    noon = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    with open_storage(url) as storage:
        records = storage.records("logged")
        records.log_event("launched", "launched at postgresql://me:secret@host/db", noon)
        records.log_event("put back", "trial 17 was put back: its node died", noon, trial=17)
    first, second = hpo("log", "logged").out.splitlines()
    assert "secret" not in first
    assert second.endswith("  trial 17 was put back: its node died")
    found = json.loads(hpo("log", "logged", "--json").out)
    assert [(one["kind"], one["trial"]) for one in found] == [("launched", None), ("put back", 17)]
    assert datetime.datetime.fromisoformat(found[0]["moment"]) == noon
    assert hpo("log", "lodged").code == 2


@pytest.mark.parametrize(
    ("state", "value", "said"),
    [
        (TrialState.COMPLETE, 0.5, "default trial 0: value 0.5, 0.4 worse than the best"),
        (TrialState.PRUNED, 0.25, "default trial 0: value 0.25 when it was pruned, 0.65 worse than the best"),
        (TrialState.COMPLETE, 0.9, "default trial 0: value 0.9, not beaten"),
    ],
)
def test_how_far_the_defaults_are_behind(state: TrialState, value: float, said: str, tmp_path: Path, hpo: Hpo) -> None:
    default = create_trial(state=state, value=value, user_attrs={attributes.DEFAULT: True})
    trials = [default, create_trial(state=TrialState.COMPLETE, value=0.9)]
    url = made(tmp_path, "mine", ["maximize"], trials)
    assert said in hpo("status", "mine", "--storage", url).out.splitlines()


def test_a_trial_that_breaks_a_constraint_says_so(hpo: Hpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [create_trial(value=value, system_attrs={"constraints": [2.0 - value]}) for value in (1.0, 3.0)]
    monkeypatch.setenv("HPO_STORAGE", made(tmp_path, "bound", ["minimize"], trials))
    rows = [line.split(maxsplit=4) for line in hpo("trials", "bound").out.splitlines()[1:]]
    assert rows == [["0", "COMPLETE", "1", "0", "it breaks a constraint"], ["1", "COMPLETE", "3", "0"]]
    assert "\nreason: it breaks a constraint\n" in hpo("trials", "bound", 0).out
    assert [one["feasible"] for one in json.loads(hpo("trials", "bound", "--json").out)] == [False, True]
    assert hpo("best", "bound").out.startswith("best    trial 1: ")
