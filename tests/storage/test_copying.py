"""Studies copied between SQLite, PostgreSQL and MySQL: equal in everything, or refused with nothing written."""

from __future__ import annotations

import itertools
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from hpo.errors import NotFound, Refused, UserError
from hpo.storage import Holder, RunFacts, StudyStorage, copied_rows, open_storage, resolve
from hpo.storage.copying import CopiedStudy, copy_studies
from hpo.testing.storage import assert_same_trials, plain_storage

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
FACTS = RunFacts({"torch": "2.13.0", "ünï": "1"}, "abc123")
DISTRIBUTIONS: dict[str, optuna.distributions.BaseDistribution] = {
    "width": IntDistribution(8, 64, step=8),
    "optimizer.lr": FloatDistribution(1e-6, 1.0, log=True),
    "LR": FloatDistribution(0, 1),
    "lr": FloatDistribution(0, 1),
    "kind": CategoricalDistribution(("a", None, 1, True, 0.5)),
}
FLOATS = [0.1, float("inf"), float("-inf"), float("nan"), 1e-308, 5e-324, 1.7976931348623157e308, -1 / 3]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_rows, "_TRIALS", 3)
    monkeypatch.setattr(copied_rows, "_ROWS", 4)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two places where there is no file."""
    return f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"


@pytest.fixture
def urls(tmp_path: Path, postgres_url: str, mariadb_url: str) -> dict[str, str]:
    """An empty place of each kind."""
    return {"sqlite": f"sqlite:///{tmp_path}/a.db", "postgresql": postgres_url, "mysql": mariadb_url}


def _holder(pid: int) -> Holder:
    return Holder("host1", pid, 1.5, NOW)


def _fill(url: str, name: str) -> None:
    """Make a study with everything there is."""
    with open_storage(url) as storage:
        storage.create_study(name, ["minimize", "maximize"], {"hpo:sweep": '{"space": {}}', "hpo:id": f"id of {name}"})
        records = storage.records(name)
        sweep = records.add_sweep('{"name": "ü"}' + " " * 70_000, "ada", NOW)
        lease = records.take(_holder(1), None, RunFacts(FACTS.versions, FACTS.git_commit, sweep.id), NOW)
        with open_storage(url, lease=lease) as running:
            _run(running, name)
        records.log_event("launched", "run 1", NOW, run=lease.run)
        records.add_export(0, "/home/ada/best.yaml", "d" * 64, "ada", NOW)
        records.release(lease, "finished", 12.5, NOW + timedelta(minutes=1))
        again = records.take(_holder(2), records.lease(), RunFacts(), NOW + timedelta(minutes=2))
        records.release(again, "interrupted", 13.0, NOW + timedelta(minutes=3))


def _run(storage: StudyStorage, name: str) -> None:
    study = optuna.load_study(study_name=name, storage=storage.optuna, sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_user_attr("note", {"ü": [1, None, {"inf": float("inf")}]})
    storage.optuna.set_study_system_attr(study._study_id, "dashboard:note", "look")
    for n in range(8):
        trial = study.ask(DISTRIBUTIONS)
        for step, value in enumerate(FLOATS[n:], start=1):
            storage.optuna.set_trial_intermediate_value(trial._trial_id, step, value)
            storage.report_metrics(trial._trial_id, step, {"loss": value, "Loss": 1.0})
        trial.set_user_attr("reason", "x" * 1000)
        trial.set_user_attr("REASON", n)
        storage.optuna.set_trial_system_attr(trial._trial_id, "constraints", [0.5, -1])
        storage.log_event("told", f"trial {n}", trial=n)
        if n < 6:
            state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[n % 3]
            values = [FLOATS[n % 3], -0.5] if state == TrialState.COMPLETE else None
            storage.optuna.set_trial_state_values(trial._trial_id, state, values)
    study.enqueue_trial({"lr": 0.25}, user_attrs={"by": "hand"})
    moments = {"datetime_start": datetime(2020, 1, 1, 1, 1, 1, 1), "datetime_complete": datetime(2020, 1, 2)}
    added = create_trial(values=[1.0, 2.0])
    added.datetime_start, added.datetime_complete = moments.values()
    study.add_trial(added)


def _all_of(url: str, name: str) -> dict[str, Any]:
    """Everything of a study that has no row id in it, as plain Optuna and the own records tell it."""
    with plain_storage(resolve(url)) as plain:
        study = optuna.load_study(study_name=name, storage=plain)
        trials = study.get_trials(deepcopy=True)
        found: dict[str, Any] = {
            "directions": study.directions,
            "user": repr(sorted(study.user_attrs.items())),
            "system": repr(sorted(plain.get_study_system_attrs(study._study_id).items())),
        }
    for trial in trials:
        trial._trial_id = trial.number
    with open_storage(url) as storage:
        records = storage.records(name)
        runs = {run.id: n for n, run in enumerate(records.runs())}
        sweeps = {sweep.id: n for n, sweep in enumerate(records.sweeps())}
        found["sweeps"] = [(s.spec, s.digest, s.created, s.created_by) for s in records.sweeps()]
        found["runs"] = [
            (r.fencing, r.holder, r.facts.versions, r.facts.git_commit, r.heartbeat, r.seconds, r.ended, r.reason)
            for r in records.runs()
        ]
        found["sweep of runs"] = [sweeps.get(run.facts.sweep or -1) for run in records.runs()]
        found["lease"] = records.lease()
        found["metrics"] = repr(records.metrics())
        found["exports"] = [(e.trial, e.path, e.digest, e.created, e.created_by) for e in records.exports()]
        found["events"] = [(runs.get(e.run or -1), e.moment, e.kind, e.trial, e.text) for e in records.events()]
    return {**found, "trials": trials}


def _assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert_same_trials(left["trials"], right["trials"])
    for part in left.keys() - {"trials"}:
        assert left[part] == right[part], part


def test_a_study_that_went_through_every_kind_of_database_is_the_same(urls: dict[str, str], tmp_path: Path) -> None:
    stations = [*urls.values(), urls["postgresql"], f"sqlite:///{tmp_path}/b.db"]
    _fill(stations[0], "a")
    first = _all_of(stations[0], "a")
    assert len(first["trials"]) == 10
    assert all(first[part] for part in first)
    rows: set[int] = set()
    told_by_all: list[tuple[str, int, int]] = []
    for n, (source, target) in enumerate(itertools.pairwise(stations)):
        if n == 2:  # the way back, from MySQL
            with open_storage(target) as storage:
                storage.delete_study("a")
        (copied,) = copy_studies(source, target, "a", progress=lambda *told: told_by_all.append(told))
        assert (copied.name, copied.trials) == ("a", 10)
        rows.add(copied.rows)
        _assert_same(first, _all_of(target, "a"))
    assert len(rows) == 1
    assert told_by_all == [("a", 3, 10), ("a", 6, 10), ("a", 9, 10), ("a", 10, 10)] * (len(stations) - 1)
    with open_storage(stations[-1]) as storage:  # and it can be gone on with
        lease = storage.records("a").take(_holder(3), storage.records("a").lease(), FACTS, NOW)
        assert lease.fencing == 3
    with open_storage(stations[-1], lease=lease) as storage:
        study = optuna.load_study(study_name="a", storage=storage.optuna)
        assert [study.ask().number for _ in range(2)] == [8, 10]


def test_all_studies_in_order_of_creation(urls: dict[str, str]) -> None:
    with open_storage(urls["mysql"]) as storage:
        for name in ("b", "a", "A"):
            storage.create_study(name, ["minimize"], {"n": name})
        study = optuna.load_study(study_name="a", storage=storage.optuna)
        study.tell(study.ask(), 1.0)
    copied = copy_studies(urls["mysql"], urls["sqlite"])
    assert [(study.name, study.trials) for study in copied] == [("b", 0), ("a", 1), ("A", 0)]
    with open_storage(urls["sqlite"]) as storage:
        assert storage.study_names() == ["b", "a", "A"]
    assert isinstance(copied[0], CopiedStudy)


def test_names_that_are_there_are_refused_before_anything_is_written(files: tuple[str, str]) -> None:
    for url, names in zip(files, (("new", "both"), ("both",)), strict=True):
        with open_storage(url) as storage:
            for name in names:
                storage.create_study(name, ["minimize"])
    with pytest.raises(Refused, match=r"study 'both' exists already in sqlite:///.*new\.db"):
        copy_studies(*files)
    with pytest.raises(Refused, match=r"study 'new' exists already in sqlite:///.*old\.db"):
        copy_studies(files[0], files[0], "new")
    with open_storage(files[1]) as storage:
        assert storage.study_names() == ["both"]


def test_a_study_that_is_being_run_is_refused_unless_told(files: tuple[str, str]) -> None:
    source, target = files
    with open_storage(source) as storage:
        storage.create_study("a", ["minimize"])
        lease = storage.records("a").take(_holder(7), None, FACTS, NOW)
    with open_storage(source, lease=lease) as running:
        study = optuna.load_study(study_name="a", storage=running.optuna)
        study.tell(study.ask(), 1.0)
        open_trial = study.ask()
        running.flush()
        with pytest.raises(Refused, match=r"study 'a' in sqlite:///.* is being run by process 7 on host1, since"):
            copy_studies(source, target, "a")
        assert not Path(target.removeprefix("sqlite:///")).exists()
        copy_studies(source, target, "a", running=True)
        study.tell(open_trial, 2.0)  # the run is not disturbed
    with open_storage(target) as copy:
        state = copy.records("a").lease()
        assert state is not None
        assert state.released is not None
        assert state.fencing == lease.fencing
        states = [trial.state.name for trial in optuna.load_study(study_name="a", storage=copy.optuna).trials]
    assert states == ["COMPLETE", "RUNNING"]


def test_what_is_missing_is_one_sentence(files: tuple[str, str]) -> None:
    with pytest.raises(NotFound, match=r"no studies at sqlite:///.*old\.db"):
        copy_studies(*files)
    with open_storage(files[0]) as storage:
        storage.create_study("a", ["minimize"])
    with pytest.raises(NotFound, match=r"study 'b' does not exist in sqlite:///"):
        copy_studies(*files, "b")
    with pytest.raises(UserError, match=r"storage: cannot use postgresql://.*refused"):
        copy_studies(files[0], "postgresql://me@127.0.0.1:1/db", "a")
    assert not Path(files[1].removeprefix("sqlite:///")).exists()


def test_a_source_made_by_a_plain_optuna_is_not_changed(files: tuple[str, str]) -> None:
    file = Path(files[0].removeprefix("sqlite:///"))
    with plain_storage(files[0]) as plain:
        study = optuna.create_study(study_name="a", storage=plain)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    before = file.read_bytes()
    copy_studies(*files, "a")
    assert file.read_bytes() == before
    _assert_same(*(_all_of(url, "a") for url in files))


def test_a_study_that_does_not_fit_leaves_nothing_behind(urls: dict[str, str]) -> None:
    with open_storage(urls["sqlite"]) as storage:
        storage.create_study("fits", ["minimize"])
        storage.create_study("long", ["minimize"])
        study = optuna.load_study(study_name="long", storage=storage.optuna)
        for n in range(5):
            trial = study.ask()
            trial.set_user_attr("log", "x" * (100 if n < 4 else 70_000))
            study.tell(trial, 1.0)
    with pytest.raises(UserError, match=r"study 'long' cannot be copied to mysql://.*: 'log' is 70,002 bytes as JSON"):
        copy_studies(urls["sqlite"], urls["mysql"])
    with open_storage(urls["mysql"]) as storage:
        assert storage.study_names() == ["fits"]
    assert _counts(urls["mysql"], "trials", "trial_user_attributes") == [0, 0]
    with sqlite3.connect(urls["sqlite"].removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE trial_user_attributes SET key = 'a' || char(0)")
    connection.close()
    with pytest.raises(UserError, match=r"storage: cannot use postgresql://.*NUL"):
        copy_studies(urls["sqlite"], urls["postgresql"], "long")
    assert _counts(urls["postgresql"], "studies", "trials") == [0, 0]


def _counts(url: str, *tables: str) -> list[int]:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        counts = [int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0) for table in tables]
    engine.dispose()
    return counts


def test_tables_that_would_lose_something_are_refused(urls: dict[str, str]) -> None:
    with plain_storage(urls["mysql"]) as plain:
        assert plain.get_all_studies() == []
    with open_storage(urls["sqlite"]) as storage:
        storage.create_study("a", ["minimize"])
    with pytest.raises(UserError, match=r"the tables in mysql://.* were not made by hpo: they ignore case"):
        copy_studies(urls["sqlite"], urls["mysql"], "a")


@pytest.mark.parametrize(("table", "revision"), [("alembic_version", "v3.0.0.d"), ("hpo_alembic_version", "r0000")])
def test_a_source_of_another_revision_is_refused(files: tuple[str, str], table: str, revision: str) -> None:
    with open_storage(files[0]) as storage:
        storage.create_study("a", ["minimize"])
    with sqlite3.connect(files[0].removeprefix("sqlite:///")) as connection:
        connection.execute(f"UPDATE {table} SET version_num = '{revision}'")
    connection.close()
    with pytest.raises(UserError, match=revision):
        copy_studies(*files, "a")


@pytest.fixture
def twice(files: tuple[str, str]) -> tuple[str, str]:
    """A source with a study `a` that has events, and a target that has a copy of it."""
    _fill(files[0], "a")
    copy_studies(*files, "a")
    return files


def test_a_copy_that_others_deleted_leaves_no_trace_in_the_next(twice: tuple[str, str]) -> None:
    source, target = twice
    with plain_storage(resolve(target)) as plain:
        optuna.delete_study(study_name="a", storage=plain)  # which knows nothing of our rows
    copy_studies(source, target, "a")
    _assert_same(_all_of(source, "a"), _all_of(target, "a"))
    assert _counts(target, "hpo_studies", "hpo_leases") == [1, 1]


def test_a_study_whose_identity_another_has_gets_one_of_its_own(twice: tuple[str, str]) -> None:
    source, target = twice
    engine = sa.create_engine(resolve(target), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE studies SET study_name = 'renamed'"))
    engine.dispose()
    copy_studies(source, target, "a")
    with open_storage(target) as storage:
        ids = [
            optuna.load_study(study_name=name, storage=storage.optuna).user_attrs["hpo:id"] for name in ("renamed", "a")
        ]
        events = [len(storage.records(name).events()) for name in ("renamed", "a")]
    assert ids[0] == "id of a"
    assert ids[1] != ids[0]
    assert events == [9, 9]
    left, right = _all_of(source, "a"), _all_of(target, "a")
    assert left.pop("user") != right.pop("user")
    _assert_same(left, right)
