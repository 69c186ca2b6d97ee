"""Optuna's storage contract with memory in front of SQL: every read is answered at once, writes go in batches."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpo.storage import loader, tables, work
from hpo.storage.batch import Change
from hpo.storage.memory import StudyMemory
from hpo.storage.own import studies
from hpo.storage.own.events import EVENTS
from hpo.storage.own.leases import Lease
from hpo.storage.own.metrics import metric_row
from hpo.storage.own.studies import IDENTITY
from hpo.storage.place import read_url
from hpo.storage.tables import PARAMS, REPORTS, STUDY_SYSTEM, STUDY_USER, TRIAL_SYSTEM, TRIAL_USER, VALUES, Cells, Row
from hpo.storage.write_behind import WriteBehind

_OPEN = frozenset({TrialState.RUNNING, TrialState.WAITING})


class BatchedStorage(WriteBehind, BaseStorage):
    """Studies in Optuna's own tables, read from memory. Thread safe; lives in one process.

    What is committed when:
    - a new study or trial, and WAITING to RUNNING: before the call returns;
    - a final state with its values, and all that was written before it: before the call returns, on disk; inside
      `batch()`: when the outermost block ends;
    - parameters: with the next of these, at the latest when `flush` returns or `batch()` ends;
    - everything else (intermediate values, metrics, attributes, events): with the next of these, at the latest after
      `lag` seconds.

    Others may write to the same tables. New trials, final states and attributes of theirs are seen within
    `refresh_every` seconds and stay; a trial that they finished takes no more changes (UpdateFinishedTrialError).

    Raises StorageLost from any write once the database has refused one or stayed away for `patience` seconds, Fenced
    once somebody else took the study of its lease, and ValueError or TypeError, with nothing changed, for what the
    database could not hold.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle is the URL and the lease: the copy opens the database anew."""
        self.flush()
        return _reopen, (self._place.url.render_as_string(hide_password=False), self._lease)

    # -- studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self.create_study(directions, study_name, {})

    def create_study(self, directions: Sequence[StudyDirection], name: str | None, attrs: Mapping[str, Any]) -> int:
        """As `create_new_study`, with user attributes in the same transaction."""
        name = tables.check_key(DEFAULT_STUDY_NAME_PREFIX + str(uuid.uuid4()) if name is None else name)
        for key, value in attrs.items():
            self._place.dialect.check(tables.attr_row(STUDY_USER, -1, key, value))
        with self._db:
            study_id = self._commit(
                lambda connection, _: work.insert_study(connection, name, directions, attrs), durable=True
            )
            self._forget(study_id)  # SQLite gives the ids of deleted studies away again
            self._load(study_id)
        return study_id

    def delete_study(self, study_id: int) -> None:
        with self._db:
            self._commit(lambda connection, _: work.delete_study(connection, study_id), durable=True)
            with self._mem:
                self._forget(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_USER, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_SYSTEM, study_id, key, value)

    def _set_study_attr(self, cells: Cells, study_id: int, key: str, value: Any) -> None:
        self._check_alive()
        study = self._study(study_id)
        row = tables.attr_row(cells, study_id, key, value)
        self._place.dialect.check(row)
        with self._mem:
            study.check_key(key, study.user_attrs if cells is STUDY_USER else study.system_attrs)
            # as it will be read back, and safe from later changes of the caller's object
            stored = json.loads(row["value_json"])
            if cells is STUDY_USER:
                study.user_attrs = {**study.user_attrs, key: stored}
            else:
                study.system_attrs = {**study.system_attrs, key: stored}
            self._pending.put(cells, row)

    def get_study_id_from_name(self, study_name: str) -> int:
        with self._mem:
            for study in self._studies.values():
                if study.name == study_name:
                    return study.id
        query = sa.select(tables.STUDIES.c.study_id, tables.STUDIES.c.study_name)
        query = query.where(tables.STUDIES.c.study_name == study_name)
        found = self._read(lambda connection: connection.execute(query).all())
        # some databases find a name that differs in case
        study_id = next((row.study_id for row in found if row.study_name == study_name), None)
        if study_id is None:
            raise KeyError(f"No such study {study_name}.")
        return int(study_id)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study(study_id).user_attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study(study_id).system_attrs

    def get_all_studies(self) -> list[FrozenStudy]:
        self.flush()
        return self._read(loader.studies)

    # -- trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._db:
            dialect = self._place.dialect
            return self._make(work.NewTrial(self._study(study_id), template_trial, datetime.now(), dialect))

    def _make(self, new: work.NewTrial) -> int:
        """Under `_db`."""
        study = new.study
        inserted = self._commit(new.insert, lambda inserted: inserted.rows)
        with self._mem:
            # in order of id: others may have come before or, when an answer was lost, after ours
            for trial in sorted([*inserted.others, inserted.trial], key=lambda trial: trial._trial_id):
                study.put(trial)
                self._homes[trial._trial_id] = study
            study.ours.add(inserted.trial._trial_id)
        return inserted.trial._trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._check_alive()
        study = self._home(trial_id)
        with self._mem:
            trial = study.changeable(trial_id)
            study.check_distribution(param_name, distribution)
            study.check_key(param_name, trial.params)
            row = tables.param_row(trial_id, param_name, param_value_internal, distribution)
            self._place.dialect.check(row)
            self._pending.put(PARAMS, row)
            study.set_param(trial, param_name, param_value_internal, distribution)
            study.ours.add(trial_id)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._check_alive()
        study = self._home(trial_id)
        with self._mem:
            trial = study.changeable(trial_id)
            self._pending.put(REPORTS, tables.report_row(trial_id, step, intermediate_value))
            study.report(trial, int(step), float(intermediate_value))
            study.ours.add(trial_id)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(TRIAL_USER, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(TRIAL_SYSTEM, trial_id, key, value)

    def report_metrics(self, trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
        """Everything a trial reports at a step besides the objective. Expects the own tables to be there.

        Raises UpdateFinishedTrialError.
        """
        self._check_alive()
        study = self._home(trial_id)
        own = self._own_id(study)
        with self._mem:
            number = study.changeable(trial_id).number
            rows = [metric_row(own, number, step, name, value) for name, value in metrics.items()]
            self._pending.put_metrics(trial_id, rows)
            study.ours.add(trial_id)

    def log_event(self, row: Row) -> None:
        """One event, as `events.event_row` makes it. Expects the own tables to be there."""
        self._check_alive()
        with self._mem:
            self._pending.put(EVENTS, row)

    def _own_id(self, study: StudyMemory) -> int:
        """The study's id in `hpo_studies`, where it is registered when it is asked for first."""
        lease = self._lease
        if study.own_id is None and lease is not None and study.user_attrs.get(IDENTITY) == lease.study_uuid:
            study.own_id = lease.study
        if study.own_id is None:
            now = datetime.now(UTC)
            with self._db:
                study.own_id, _ = self._commit(
                    lambda connection, _: studies.register(connection, study.id, study.name, now), durable=True
                )
        return study.own_id

    def _set_trial_attr(self, cells: Cells, trial_id: int, key: str, value: Any) -> None:
        self._check_alive()
        study = self._home(trial_id)
        with self._mem:
            trial = study.changeable(trial_id)
            row = tables.attr_row(cells, trial_id, key, value)
            self._place.dialect.check(row)
            study.check_key(key, trial.user_attrs if cells is TRIAL_USER else trial.system_attrs)
            stored = json.loads(row["value_json"])
            if cells is TRIAL_USER:
                trial.user_attrs = {**trial.user_attrs, key: stored}
            else:
                trial.system_attrs = {**trial.system_attrs, key: stored}
            self._pending.put(cells, row)
            study.put(trial)
            study.ours.add(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; True when the state is set, False for RUNNING when the trial is not WAITING (any more).

        Raises UpdateFinishedTrialError when the trial is finished, be it by somebody else at this moment.
        """
        self._check_alive()
        study = self._home(trial_id)
        now = study.moment(datetime.now())
        with self._mem:
            trial = study.changeable(trial_id)
            if state == TrialState.RUNNING and trial.state != TrialState.WAITING:
                return False
            rows = [tables.value_row(trial_id, n, value) for n, value in enumerate(values or ())]
            start = tables.to_utc(now) if state == TrialState.RUNNING else None
            complete = tables.to_utc(now) if state.is_finished() else None
            allowed = frozenset({TrialState.WAITING}) if state == TrialState.RUNNING else _OPEN
            self._refused.discard(trial_id)
            self._pending.change(trial_id, Change(state, allowed, start, complete))
            self._pending.put_all((VALUES, row) for row in rows)
            study.set_state(trial, state, None if values is None else [float(value) for value in values], now)
            study.ours.add(trial_id)
        together = state.is_finished() and getattr(self._here, "depth", 0) > 0
        if state == TrialState.WAITING or together:
            return True
        self.flush()
        return self._is_set(study, trial_id)

    def _is_set(self, study: StudyMemory, trial_id: int) -> bool:
        """Whether the last change of a trial's state, which was committed, was not refused for another's."""
        with self._mem:
            if trial_id not in self._refused:
                return True
            trial = study.trial(trial_id)
            study.ours.discard(trial_id)
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial#{trial.number} has already been finished by another process.")
            return False

    def get_trial(self, trial_id: int) -> FrozenTrial:
        study = self._home(trial_id)
        with self._mem:
            return study.trial(trial_id)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        study = self._study(study_id)
        with self._mem:
            return study.by_number(trial_number)._trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        study = self._study(study_id)
        with self._mem:
            trials = study.select(states)
        return copy.deepcopy(trials) if deepcopy else trials

    def changes(self, study_id: int, since: int) -> tuple[list[FrozenTrial], int]:
        """Trials that came, changed state or got an attribute since a call that gave `since` (0: all), and the next.

        By whomever; parameters and intermediate values alone do not count. Costs what changed, not what there is.
        """
        study = self._study(study_id)
        with self._mem:
            return study.changes(since)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        study = self._study(study_id)
        with self._mem:
            return study.best()


def _reopen(url: str, lease: Lease | None) -> BatchedStorage:
    return BatchedStorage(read_url(url), lease=lease)
