"""`StudyStorage`: the door of this room. Opening touches nothing; the database is made when the first study is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection

from hpo import __version__
from hpo.errors import NotFound, Refused, UserError
from hpo.storage.batched import BatchedStorage
from hpo.storage.optuna_schema import look_into, prepare_database
from hpo.storage.own import speeds
from hpo.storage.own.events import event_row
from hpo.storage.own.leases import Lease
from hpo.storage.own.speeds import PackSpeed
from hpo.storage.own_tables import OwnTables
from hpo.storage.place import Place, check_place, read_url
from hpo.storage.records import StudyRecords
from hpo.storage.refusals import Fenced, StorageLost
from hpo.storage.tables import KNOWN_SCHEMAS

SPEEDS_HOLD = timedelta(days=90)  # drivers and libraries change, and keys do not know of all of it
_SERIES = ".".join(__version__.split(".")[:2])  # a later hpo packs otherwise
_SECOND = 1.0  # of patience, for what is nice to have
log = logging.getLogger("hpo.storage")


def open_storage(url: str, lease: Lease | None = None) -> StudyStorage:
    """The storage at `url` (`sqlite:///hpo.db`, `postgresql://user@host/database`). Nothing is created or connected.

    lease: as `StudyRecords.take` gave it: every write transaction looks at its fencing number, and once somebody else
    took the study every write raises Fenced and changes nothing.

    Raises UserError for a URL that cannot be used: unknown scheme, missing driver, `:memory:`, a folder that does not
    exist or lies on a network file system, a file that is no SQLite database.
    """
    place = read_url(url)
    check_place(place)
    return StudyStorage(place, lease=lease)


class StudyStorage:
    """Studies in one SQL database. A context manager; `close` writes what is left.

    place: where it is, for printing (no password).
    optuna: what `optuna.load_study(storage=...)` takes; made, with its tables, when first asked for.
    known: revisions of Optuna's schema that `BatchedStorage` may write; for any other Optuna's own RDBStorage does.
    lease: what every write carries.
    """

    def __init__(self, place: Place, known: frozenset[str] = KNOWN_SCHEMAS, lease: Lease | None = None) -> None:
        self._place = place
        self._known = known
        self._lease = lease
        self._own = OwnTables(place, lease)
        self._optuna: BaseStorage | None = None
        self._lock = threading.RLock()

    @property
    def place(self) -> str:
        """Where the database is, for printing: no password in it."""
        return str(self._place)

    @property
    def url(self) -> str:
        """The absolute URL, its password included: for child processes, never for printing."""
        return self._place.url.render_as_string(hide_password=False)

    @property
    def optuna(self) -> BaseStorage:
        """Optuna's view of the database; creates file and tables where there are none.

        Raises UserError when the database cannot be reached or written, or holds a schema of another Optuna.
        """
        with self._lock:
            if self._optuna is None:
                rdb = prepare_database(self._place, self._known, self._lease)
                self._optuna = rdb or BatchedStorage(self._place, lease=self._lease)
            return self._optuna

    def create_study(self, name: str, directions: Sequence[str], attrs: Mapping[str, Any] | None = None) -> None:
        """Make a study. directions: "minimize" or "maximize" for each objective; attrs: user attributes, JSON values.

        Raises Refused when the name is taken, and UserError when the own tables are of another revision, or when the
        database cannot hold the name or an attribute (MySQL: 65,535 bytes of JSON).
        """
        wanted = [StudyDirection[direction.upper()] for direction in directions]
        storage = self.optuna
        self._own.prepare()
        try:
            if isinstance(storage, BatchedStorage):
                storage.create_study(wanted, name, attrs or {})
            else:
                study_id = storage.create_new_study(wanted, name)
                for key, value in (attrs or {}).items():
                    storage.set_study_user_attr(study_id, key, value)
        except DuplicatedStudyError:
            raise Refused(f"study {name!r} exists already in {self.place}") from None
        except ValueError as error:  # a name or a value that the database could not hold
            raise UserError(f"storage: {error}") from None

    def check(self) -> None:
        """Raise UserError when the database cannot be read, or the own tables are of another revision."""
        self._own.read(lambda _: None, None)

    def study_names(self) -> list[str]:
        """Names in order of creation; none for a database that does not exist, which stays so."""
        if self._optuna is not None:
            return [study.study_name for study in self._optuna.get_all_studies()]
        stored = look_into(self._place)
        return [] if stored is None else stored.study_names

    def exists(self, name: str) -> bool:
        """Whether a study of this name is there. Creates nothing."""
        return name in self.study_names()

    def records(self, name: str) -> StudyRecords:
        """What is kept of a study besides Optuna's own fields. Raises NotFound. Creates nothing."""
        if not self.exists(name):
            raise NotFound(f"study {name!r} does not exist in {self.place}")
        return StudyRecords(name, self._own)

    def report_metrics(self, trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
        """Everything that a trial reports at a step besides the objective; NaN and infinities are kept.

        Goes with the trial's intermediate values: at the latest after half a second, before its end is committed.
        Reporting the same step again overwrites. Raises UpdateFinishedTrialError, and ValueError for a name or a step
        that the database cannot hold.
        """
        storage = self.optuna
        self._own.prepare()
        if isinstance(storage, BatchedStorage):
            storage.report_metrics(trial_id, step, metrics)
        else:
            self._own.report_metrics(trial_id, step, metrics, datetime.now(UTC))

    def log_event(self, kind: str, text: str, trial: int | None = None) -> None:
        """Note what the run of this storage's lease did, at the latest half a second from now.

        kind: one word; text: a sentence, in which passwords are masked; trial: a number. Raises ValueError without a
        lease: `records(name).log_event` notes events of any study.
        """
        if self._lease is None:
            raise ValueError("an event needs a run: open the storage with the lease of one")
        row = event_row(self._lease.study, self._lease.run, kind, text, trial, datetime.now(UTC))
        storage = self.optuna
        if isinstance(storage, BatchedStorage):
            storage.log_event(row)
        else:
            self._own.log_event(row)

    def pack_speed(self, key: str) -> PackSpeed | None:
        """What was measured last under a key, by a run of any study here.

        None where there is nothing, or nothing that still holds (another hpo, too long ago), and where the database
        does not answer: to measure again costs less than to wait. Creates nothing.
        """
        since = datetime.now(UTC) - SPEEDS_HOLD
        with suppress(UserError):
            return self._own.read(lambda connection: speeds.find(connection, key, _SERIES, since), None)
        return None

    def keep_pack_speed(self, speed: PackSpeed) -> None:
        """Keep what was measured in the place of what was known, committed on return.

        A database that does not take it is not waited for. Raises Fenced, and ValueError for a key of more than 512
        characters.
        """
        try:
            self._own.write(
                lambda connection, _: speeds.write(connection, speed, _SERIES), durable=False, patience=_SECOND
            )
        except Fenced:
            raise
        except StorageLost:
            log.debug("not kept in %s: %s", self._place, speed)

    def delete_study(self, name: str) -> None:
        """Remove a study with all its trials and own rows. Raises NotFound when there is none."""
        if not self.exists(name):
            raise NotFound(f"study {name!r} does not exist in {self.place}")
        storage = self.optuna
        study_id = storage.get_study_id_from_name(name)
        if isinstance(storage, RDBStorage):
            self._own.forget(study_id)
        storage.delete_study(study_id)

    def flush(self) -> None:
        """Return when everything written so far is committed."""
        if isinstance(self._optuna, BatchedStorage):
            self._optuna.flush()

    def batch(self) -> AbstractContextManager[None]:
        """A block whose trials' ends are committed together, with the block's other changes, when it ends.

        For one exchange: everything told and suggested in it is committed before the block is left.
        """
        storage = self.optuna
        return storage.batch() if isinstance(storage, BatchedStorage) else nullcontext()

    def refresh(self) -> None:
        """See now what others have written; happens by itself every second."""
        if isinstance(self._optuna, BatchedStorage):
            self._optuna.refresh()

    def close(self) -> None:
        """Write what is left and let the connections go. Closing twice does nothing."""
        with self._lock:
            storage, self._optuna = self._optuna, None
        self._own.close()
        if isinstance(storage, BatchedStorage):
            storage.close()
        elif isinstance(storage, RDBStorage):
            storage.engine.dispose()

    def __enter__(self) -> StudyStorage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
