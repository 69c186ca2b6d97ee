"""The own tables' schema: made, compared, brought forward, and never in Optuna's way."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from hpo.errors import UserError
from hpo.storage import PackSpeed, migrations, open_storage, resolve
from hpo.storage.own.base import Base
from hpo.storage.own_tables import OwnTables
from hpo.storage.place import Place, read_url
from hpo.testing.storage import plain_storage

NOW = datetime(2026, 3, 1, tzinfo=UTC)
THIRD = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None

def upgrade():
    op.add_column("hpo_events", sa.Column("colour", sa.String(10), nullable=True))
"""


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _schema(url: str, ours: bool) -> dict[str, str]:
    """Every column of our tables, or of all others, as text."""
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        look = sa.inspect(connection)
        found = {
            name: str([(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(name)])
            for name in look.get_table_names()
            if name.startswith("hpo_") == ours
        }
    engine.dispose()
    return found


@pytest.fixture
def place(new_url: str) -> Place:
    """A database that a plain Optuna made, with one study."""
    with plain_storage(resolve(new_url)) as plain:
        optuna.create_study(study_name="a", storage=plain)
    return read_url(new_url)


@pytest.fixture
def next_hpo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """When called, what follows is a later hpo, which has one revision more."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations.HERE, folder)
    (folder / "versions" / "r0003_colours.py").write_text(THIRD)
    return lambda: monkeypatch.setattr(migrations, "HERE", folder)


def test_from_nothing_to_the_newest(new_url: str, place: Place) -> None:
    optunas = _schema(new_url, ours=False)
    assert migrations.current(place) is None
    assert _schema(new_url, ours=True) == {}
    assert migrations.upgrade(place) == migrations.head() == migrations.current(place)
    assert migrations.check(place) == []
    assert set(_schema(new_url, ours=True)) == {"hpo_alembic_version", *Base.metadata.tables}
    with open_storage(new_url) as storage:
        storage.records("a").log_event("launched", "kept", NOW)
        assert migrations.upgrade(place) == migrations.head()  # again: nothing to do
        assert [event.text for event in storage.records("a").events()] == ["kept"]
    assert _schema(new_url, ours=False) == optunas


def test_looking_creates_nothing(tmp_path: Path) -> None:
    place = read_url(f"sqlite:///{tmp_path}/missing.db")
    assert migrations.current(place) is None
    with pytest.raises(UserError, match=r"missing.db has no tables of hpo; the first launch makes them"):
        migrations.check(place)
    assert list(tmp_path.iterdir()) == []


def test_check_names_what_differs(new_url: str, place: Place) -> None:
    with pytest.raises(UserError, match="has no tables of hpo"):
        migrations.check(place)
    migrations.upgrade(place)
    _run(
        new_url,
        "ALTER TABLE hpo_events ADD COLUMN colour VARCHAR(10)",
        "DROP TABLE hpo_exports",
        "CREATE TABLE not_ours (id INTEGER)",
    )
    differences = migrations.check(place)
    assert [line for line in differences if "remove column" in line and "colour" in line] != []
    assert [line for line in differences if "add table" in line and "hpo_exports" in line] != []
    assert "not_ours" not in str(differences)
    assert "trials" not in str(differences)


def test_what_alembic_does_not_compare(new_url: str, place: Place) -> None:
    """Names of foreign keys; on MySQL, that texts are told apart letter by letter and moments keep their fractions."""
    migrations.upgrade(place)
    engine = sa.create_engine(resolve(new_url), poolclass=sa.NullPool)
    made = sa.MetaData()
    made.reflect(engine, only=list(Base.metadata.tables))
    engine.dispose()
    for name, table in Base.metadata.tables.items():
        keys = {str(key.name) for key in made.tables[name].foreign_key_constraints}
        assert keys == {str(key.name) for key in table.foreign_key_constraints}
        if new_url.startswith("mysql"):
            kinds = [column.type for column in made.tables[name].columns]
            texts = [kind for kind in kinds if isinstance(kind, sa.String)]
            assert {kind.collation for kind in texts} <= {"utf8mb4_bin"}
            assert {kind.fsp for kind in kinds if isinstance(kind, sa.DateTime)} <= {6}


@pytest.mark.parametrize("new_url", ["sqlite", "postgresql"], indirect=True)
def test_optunas_own_upgrade_works_beside_ours(new_url: str, place: Place) -> None:
    migrations.upgrade(place)
    before = _schema(new_url, ours=True)
    # as the Optuna before this schema left it
    _run(new_url, "DROP INDEX ix_trials_study_id", "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with open_storage(new_url) as storage, pytest.raises(UserError, match="optuna storage upgrade"):
        storage.create_study("b", ["minimize"])
    command = [str(Path(sys.executable).with_name("optuna")), "storage", "upgrade", "--storage", resolve(new_url)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert _schema(new_url, ours=True) == before
    with open_storage(new_url) as storage:
        storage.create_study("b", ["minimize"])
        storage.records("b").log_event("launched", "", NOW)
    assert (migrations.current(place), migrations.check(place)) == (migrations.head(), [])


def test_tables_from_before_speeds_were_remembered(
    new_url: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "first"
    shutil.copytree(migrations.HERE, folder)
    (folder / "versions" / "r0002_pack_speeds.py").unlink()
    with monkeypatch.context() as first_hpo:
        first_hpo.setattr(migrations, "HERE", folder)
        assert migrations.upgrade(place) == "0001"
        with open_storage(new_url) as storage:
            storage.records("a").log_event("launched", "kept", NOW)
    assert "hpo_pack_speeds" not in _schema(new_url, ours=True)
    with open_storage(new_url) as storage:
        assert storage.pack_speed("key") is None
        with pytest.raises(UserError, match=r"are of revision 0001, .*; run `hpo db upgrade` once"):
            storage.records("a").events()
    assert migrations.upgrade(place) == migrations.head()
    assert migrations.check(place) == []
    with open_storage(new_url) as storage:
        assert [event.text for event in storage.records("a").events()] == ["kept"]
        storage.keep_pack_speed(PackSpeed("key", 1.0, 2.0, 16, None, NOW))


def test_tables_of_an_older_hpo(new_url: str, place: Place, next_hpo: Callable[[], None]) -> None:
    migrations.upgrade(place)
    next_hpo()
    said = r"the tables of hpo in .* are of revision 0002, this hpo works with 0003; run `hpo db upgrade` once"
    with open_storage(new_url) as storage:
        with pytest.raises(UserError, match=said):
            storage.create_study("b", ["minimize"])
        with pytest.raises(UserError, match=said):
            storage.records("a").log_event("launched", "", NOW)
        with pytest.raises(UserError, match=said):
            storage.records("a").events()
        assert storage.study_names() == ["a"]
    with pytest.raises(UserError, match=said):
        migrations.check(place)
    assert migrations.upgrade(place) == "0003"
    assert "colour" in _schema(new_url, ours=True)["hpo_events"]
    with open_storage(new_url) as storage:
        storage.create_study("b", ["minimize"])


def test_tables_of_a_newer_hpo(
    new_url: str, place: Place, monkeypatch: pytest.MonkeyPatch, next_hpo: Callable[[], None]
) -> None:
    next_hpo()
    assert migrations.upgrade(place) == "0003"
    monkeypatch.undo()
    said = r"were made by a newer hpo \(revision 0003, this one knows 0002\); pip install -U hpo"
    with open_storage(new_url) as storage, pytest.raises(UserError, match=said):
        storage.create_study("b", ["minimize"])
    for refused in (migrations.upgrade, migrations.check, lambda place: OwnTables(place).prepare()):
        with pytest.raises(UserError, match=said):
            refused(place)
    assert migrations.current(place) == "0003"


def _upgrade(url: str, barrier: multiprocessing.synchronize.Barrier, said: multiprocessing.Queue[str]) -> None:
    place = read_url(url)
    barrier.wait()
    try:
        said.put(migrations.upgrade(place))
    except BaseException as error:
        said.put(repr(error))


@pytest.mark.parametrize(
    "new_url",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("postgresql", "mysql"))],
    indirect=True,
)
def test_processes_that_race_both_succeed(new_url: str, place: Place) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, said = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_upgrade, args=(new_url, barrier, said)) for _ in range(2)]
    for racer in racers:
        racer.start()
    assert [said.get(timeout=60) for _ in racers] == [migrations.head()] * 2
    for racer in racers:
        racer.join()
    assert migrations.check(place) == []


def test_an_upgrade_that_was_killed_half_way_is_finished(new_url: str, place: Place) -> None:
    """MySQL commits each table by itself, so the first ones stay; elsewhere this is more than can happen."""
    migrations.upgrade(place)
    _run(new_url, "DELETE FROM hpo_alembic_version", "DROP TABLE hpo_exports", "DROP TABLE hpo_events")
    assert migrations.upgrade(place) == migrations.head()
    assert migrations.check(place) == []
