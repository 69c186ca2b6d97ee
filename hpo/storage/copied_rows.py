"""One study's rows on their way from one database to another: read as they are stored, written under new ids."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from hpo.storage.dialects import dialect_of
from hpo.storage.engine import explain
from hpo.storage.own import studies
from hpo.storage.own.base import table
from hpo.storage.own.events import EventRow
from hpo.storage.own.exports import ExportRow
from hpo.storage.own.leases import LeaseRow
from hpo.storage.own.metrics import MetricRow
from hpo.storage.own.runs import RunRow
from hpo.storage.own.studies import IDENTITY, StudyRow
from hpo.storage.own.sweeps import SweepRow
from hpo.storage.place import Place
from hpo.storage.tables import DIRECTIONS, OF_TRIALS, STUDIES, STUDY_SYSTEM, STUDY_USER, TRIALS, Row

Progress = Callable[[str, int, int], None]
"""Called with a study's name, how many of its trials are copied, and how many there are."""

Ids = Mapping[int, int]
"""New ids by old ones."""

_TRIALS, _ROWS = 500, 5_000


@dataclass(frozen=True)
class CopiedStudy:
    """A study that is now at both places. rows: written into all tables."""

    name: str
    trials: int
    rows: int


class Passage:
    """Copies a study within one transaction at each end. origin: the place of the old one, for its errors.

    Raises ValueError for what the new database could not hold, UserError when the old one cannot be read.
    """

    def __init__(self, old: sa.Connection, new: sa.Connection, origin: Place) -> None:
        self._old, self._new, self._origin = old, new, origin
        self._rows = 0

    def study(self, optuna_id: int, name: str, progress: Progress | None) -> CopiedStudy:
        """Everything that belongs to one of Optuna's studies."""
        found, identity = studies.identity(self._old, optuna_id), self._identity(optuna_id)
        to = self._make(STUDIES, {"study_name": name})
        for of_study in (DIRECTIONS, STUDY_SYSTEM.table, STUDY_USER.table):
            rows = self._read(of_study, of_study.c.study_id == optuna_id)
            if of_study is STUDY_USER.table:
                rows = [_with_identity(row, identity) for row in rows]
            self._put(of_study, rows, study_id={optuna_id: to})
        own = own_id(self._old, optuna_id)
        own_ids = {} if own is None else {own: self._own(own, str(identity), renewed=found != identity)}
        done, total = 0, self._count(optuna_id)
        for trials in self._trials(optuna_id):
            self._put_trials(trials, {optuna_id: to}, own_ids)
            done += len(trials)
            if progress is not None:
                progress(name, done, total)
        return CopiedStudy(name, done, self._rows)

    def _identity(self, optuna_id: int) -> str | None:
        """The UUID at the new place: its own, unless another study there has it. None for a study without one."""
        of_user = STUDY_USER.table
        studies.forget_deleted(self._new)
        is_identity = of_user.c.key == IDENTITY
        taken = {json.loads(text) for text in self._new.scalars(sa.select(of_user.c.value_json).where(is_identity))}
        text = self._old.scalar(sa.select(of_user.c.value_json).where(is_identity, of_user.c.study_id == optuna_id))
        found = None if text is None else str(json.loads(text))
        return str(uuid.uuid4()) if found in taken else found

    # -- trials

    def _count(self, optuna_id: int) -> int:
        count = sa.select(sa.func.count()).select_from(TRIALS).where(TRIALS.c.study_id == optuna_id)
        return int(self._old.scalar(count) or 0)

    def _trials(self, optuna_id: int) -> Iterator[list[Row]]:
        last = -1
        while rows := self._read(TRIALS, sa.and_(TRIALS.c.study_id == optuna_id, TRIALS.c.trial_id > last), _TRIALS):
            last = rows[-1]["trial_id"]
            yield rows

    def _put_trials(self, trials: list[Row], study: Ids, own: Ids) -> None:
        """Trials with all that hangs on them. A number is a trial's name within its study."""
        numbers = [row["number"] for row in trials]
        self._put(TRIALS, trials, study_id=study)
        query = sa.select(TRIALS.c.number, TRIALS.c.trial_id)
        (to,) = study.values()
        made = self._new.execute(query.where(TRIALS.c.study_id == to, TRIALS.c.number.in_(numbers)))
        new = {row.number: row.trial_id for row in made}
        ids = {row["trial_id"]: new[row["number"]] for row in trials}
        if len(set(ids.values())) < len(trials):
            raise ValueError("two of its trials have the same number")
        for cells in OF_TRIALS:
            rows = self._read(cells.table, cells.table.c.trial_id.in_(list(ids)))
            self._put(cells.table, rows, trial_id=ids)
        for own_id in own:
            metrics = table(MetricRow)
            where = sa.and_(metrics.c.study == own_id, metrics.c.trial.in_(numbers))
            self._put(metrics, self._read(metrics, where), study=own)

    # -- own rows

    def _own(self, own: int, identity: str, renewed: bool) -> int:
        """The own rows that are not a trial's; gives the id in `hpo_studies`. renewed: the UUID is another."""
        (row,) = self._read(table(StudyRow), table(StudyRow).c.id == own)
        study = {own: self._make(table(StudyRow), {**row, "uuid": identity})}
        sweeps = self._make_all(table(SweepRow), own, study=study)
        runs = self._make_all(table(RunRow), own, study=study, sweep=sweeps)
        lease = self._read(table(LeaseRow), table(LeaseRow).c.study == own)
        now = datetime.now(UTC)
        self._put(
            table(LeaseRow), [{**row, "released": row["released"] or now} for row in lease], study=study, run=runs
        )
        self._stream(table(ExportRow), own, study=study)
        self._stream(table(EventRow), own, renewed=renewed, study=study, run=runs)
        return study[own]

    def _make_all(self, of_study: sa.Table, own: int, **ids: Ids) -> Ids:
        """Copy rows that others name; gives their ids."""
        rows = self._read(of_study, of_study.c.study == own)
        return {row["id"]: self._make(of_study, row, **ids) for row in rows}

    def _stream(self, of_study: sa.Table, own: int, renewed: bool = False, **ids: Ids) -> None:
        """Copy rows that nobody names, however many, in their order. renewed: they get UUIDs of their own."""
        last = 0
        while rows := self._read(of_study, sa.and_(of_study.c.study == own, of_study.c.id > last), _ROWS):
            last = rows[-1]["id"]
            self._put(of_study, [{**row, "uuid": str(uuid.uuid4())} if renewed else row for row in rows], **ids)

    # -- rows

    def _read(self, of_rows: sa.Table, where: sa.ColumnElement[bool], limit: int | None = None) -> list[Row]:
        """In the order in which they were first written, which Optuna's parameters keep."""
        query = sa.select(of_rows).where(where).order_by(*of_rows.primary_key).limit(limit)
        try:
            return [dict(row) for row in self._old.execute(query).mappings()]
        except sa.exc.DBAPIError as error:
            raise explain(error, self._origin) from error

    def _put(self, of_rows: sa.Table, rows: Iterable[Row], **ids: Ids) -> None:
        """Write rows, which get ids of their own, with the ids they refer to exchanged by `ids`."""
        moved = [self._fit(of_rows, row, ids) for row in rows]
        for start in range(0, len(moved), _ROWS):
            self._new.execute(sa.insert(of_rows), moved[start : start + _ROWS])
        self._rows += len(moved)

    def _make(self, of_rows: sa.Table, row: Row, **ids: Ids) -> int:
        """Write one row; gives its new id."""
        key = self._new.execute(sa.insert(of_rows), self._fit(of_rows, row, ids)).inserted_primary_key
        assert key is not None
        self._rows += 1
        return int(key[0])

    def _fit(self, of_rows: sa.Table, row: Row, ids: Mapping[str, Ids]) -> Row:
        if of_rows.metadata is STUDIES.metadata:  # our own texts have no limit
            dialect_of(self._new).check(row)
        serial = of_rows.autoincrement_column
        return {
            name: ids[name].get(value) if name in ids else value
            for name, value in row.items()
            if serial is None or name != serial.name
        }


def own_id(connection: sa.Connection, optuna_id: int) -> int | None:
    """The id of the own rows of one of Optuna's studies; None where there are none."""
    has_any = sa.inspect(connection).has_table(StudyRow.__tablename__)
    return studies.find(connection, optuna_id) if has_any else None


def _with_identity(row: Row, identity: str | None) -> Row:
    return {**row, "value_json": json.dumps(identity)} if row.get("key") == IDENTITY else row
