"""Studies in memory in front of the writer: what waits to be written, when it is, and what others wrote meanwhile.

Two locks, always taken in this order: `_db`, held for a whole transaction, so that there is one writer; `_mem`, held
for moments, which guards what is in memory and what waits to be written. Nobody waits for the database under `_mem`.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.study._frozen import FrozenStudy

from hpo.errors import UserError
from hpo.storage import loader, news
from hpo.storage.batch import Batch
from hpo.storage.engine import reading_engine
from hpo.storage.memory import StudyMemory
from hpo.storage.own.leases import Lease
from hpo.storage.own.studies import IDENTITY
from hpo.storage.patience import PATIENCE_SECONDS, tried_anew
from hpo.storage.place import Place
from hpo.storage.refusals import Fenced, StorageLost
from hpo.storage.tables import TRIALS
from hpo.storage.ticker import Ticker
from hpo.storage.writer import Writer, Written

R = TypeVar("R")
log = logging.getLogger("hpo.storage")

LAG_SECONDS = 0.25
REFRESH_SECONDS = 1.0


class WriteBehind:
    """What `BatchedStorage` stands on: the locks, the studies in memory, the pending batch, the background thread."""

    def __init__(
        self,
        place: Place,
        *,
        lag: float = LAG_SECONDS,
        refresh_every: float = REFRESH_SECONDS,
        patience: float = PATIENCE_SECONDS,
        lease: Lease | None = None,
    ) -> None:
        self._place = place
        self._patience = patience
        self._lease = lease
        self._db = threading.RLock()
        self._mem = threading.RLock()
        self._studies: dict[int, StudyMemory] = {}
        self._homes: dict[int, StudyMemory] = {}
        self._pending = Batch()
        self._stale: set[int] = set()
        self._refused: set[int] = set()
        self._broken: Exception | None = None
        self._here = threading.local()
        self._writer = Writer(place, patience, lease)
        self._reader = reading_engine(place)
        self._ticker = Ticker(
            weakref.WeakMethod(self._write_what_is_due), lag, weakref.WeakMethod(self._refresh_quietly), refresh_every
        )
        # a storage that nobody closes must not keep its thread and connections for ever
        self._release = weakref.finalize(self, _release, self._ticker, self._writer.engine, self._reader)

    # -- writing

    def flush(self) -> None:
        """Return when everything written so far is committed. Raises StorageLost when some of it never will be."""
        with self._db:
            if isinstance(self._broken, StorageLost):
                raise self._broken
            if len(self._pending):
                self._commit(_nothing)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Final states of this thread wait for the end of the block and are committed together there.

        A state that somebody else set first then shows only after the block, in memory. Commits nothing when the block
        wrote no more than intermediate values and attributes.
        """
        self._here.depth = getattr(self._here, "depth", 0) + 1
        try:
            yield
        finally:
            self._here.depth -= 1
            if self._here.depth == 0 and self._pending.urgent:
                self.flush()

    def close(self) -> None:
        """Write what is left, then refuse all writes. Closing twice does nothing."""
        if not self._release.alive:
            return
        try:
            self.flush()
        finally:
            self._broken = self._broken or RuntimeError(f"the storage at {self._place} is closed")
            self._release()

    def _commit(
        self,
        do: Callable[[sa.Connection, bool], R],
        created: Callable[[R], Batch] | None = None,
        durable: bool = False,
    ) -> R:
        """Write what is pending and `do` more in one transaction. Under `_db`."""
        self._check_alive()
        with self._mem:
            batch, self._pending = self._pending, Batch()
        try:
            written = self._writer.commit(batch, do, created, durable)
        except BaseException as error:
            with self._mem:
                batch.update(self._pending)
                # what another run now decides must not be written by this one, ever
                self._pending = Batch() if isinstance(error, Fenced) else batch
            if isinstance(error, StorageLost):
                self._broken = error
            raise
        self._settle(written)
        return written.result

    def _settle(self, written: Written[Any]) -> None:
        """Bring memory in line where others were first."""
        with self._mem:
            homes = {self._homes[trial_id].id for trial_id in written.gone if trial_id in self._homes}
            for study_id in homes | written.gone_studies:
                self._forget(study_id)
            self._stale |= written.lost
            self._refused |= written.lost
        if written.lost:
            self._look_around(self._patience)  # the caller is told by memory whether he was first

    def _check_alive(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _write_what_is_due(self) -> None:
        if self._broken is None and len(self._pending):
            try:
                self.flush()
            except Exception as error:
                self._broken = self._broken or error
                log.error("nothing more can be written to %s: %s", self._place, error)

    # -- memory

    def refresh(self) -> None:
        """See now what others have written to the studies in memory; happens by itself every second.

        Raises UserError when the database does not answer; nothing is changed then, and the next look may succeed.
        """
        try:
            self._look_around(patience=0)
        except StorageLost as error:
            raise UserError(str(error)) from error

    def _look_around(self, patience: float) -> None:
        with self._db:
            with self._mem:
                asked = [news.question(study, self._stale) for study in self._studies.values()]
            for question in asked:
                found = self._read(functools.partial(news.look, asked=question), patience)
                with self._mem:
                    self._take_in(question, found)

    def _take_in(self, asked: news.Question, found: news.News) -> None:
        study = self._studies[asked.study_id]
        if found.study is None or not _is_same(study, found.study):
            self._forget(study.id)
            return
        news.merge(study, found, self._pending, asked.stale)
        self._stale -= asked.stale
        for trial in found.whole:
            self._homes[trial._trial_id] = study

    def _refresh_quietly(self) -> None:
        try:
            if self._broken is None:
                self.refresh()
        except Exception as error:  # the next look may succeed; writes have their own patience
            log.debug("cannot look for news in %s: %s", self._place, error)

    def _read(self, look: Callable[[sa.Connection], R], patience: float | None = None) -> R:
        """What `look` finds, in one transaction; tried anew for `patience` seconds, for those of a write when None."""

        def attempt(_retried: bool) -> R:
            with self._reader.connect() as connection, connection.begin():
                return look(connection)

        return tried_anew(self._place, self._patience if patience is None else patience, attempt, "does not answer")

    def _study(self, study_id: int) -> StudyMemory:
        """The study, loaded when it is asked for first. Raises KeyError."""
        study = self._studies.get(study_id)
        return study if study is not None else self._load(study_id)

    def _load(self, study_id: int) -> StudyMemory:
        with self._db:
            if study_id in self._studies:
                return self._studies[study_id]
            study = self._read(lambda connection: self._find(connection, study_id))
            if study is None:
                raise KeyError(f"No study with study_id {study_id} exists.")
            with self._mem:
                self._studies[study_id] = study
                self._homes.update(dict.fromkeys(study.trial_ids(), study))
            return study

    def _find(self, connection: sa.Connection, study_id: int) -> StudyMemory | None:
        frozen = loader.study(connection, study_id)
        if frozen is None:
            return None
        exact = self._place.dialect.is_exact(connection)
        return StudyMemory(frozen, loader.trials_of_study(connection, study_id), exact)

    def _home(self, trial_id: int) -> StudyMemory:
        """The study of a trial; looks into the database for a trial nobody has seen yet. Raises KeyError."""
        study = self._homes.get(trial_id)
        if study is not None:
            return study
        query = sa.select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id)
        study_id = self._read(lambda connection: connection.execute(query).scalar())
        if study_id is None:
            raise KeyError(f"No trial with trial_id {trial_id} exists.")
        if study_id in self._studies:
            self._look_around(self._patience)
        self._study(study_id)
        return self._homes[trial_id]

    def _forget(self, study_id: int) -> None:
        study = self._studies.pop(study_id, None)
        for trial_id in study.trial_ids() if study is not None else ():
            self._homes.pop(trial_id, None)
            self._stale.discard(trial_id)
            self._refused.discard(trial_id)


def _is_same(known: StudyMemory, found: FrozenStudy) -> bool:
    """Whether a study is still the one in memory: one made anew may have the old one's name and, on SQLite, its id."""
    before, now = (attrs.get(IDENTITY) for attrs in (known.user_attrs, found.user_attrs))
    return found.study_name == known.name and (before is None or now is None or before == now)


def _nothing(_connection: sa.Connection, _retried: bool) -> None:
    return None


def _release(ticker: Ticker, *engines: sa.Engine) -> None:
    ticker.stop()
    for engine in engines:
        engine.dispose()
