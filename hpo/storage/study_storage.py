"""`StudyStorage`: the door of this room. Opening touches nothing; the database is made when the first study is."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection

from hpo.errors import NotFound, Refused, UserError
from hpo.storage.engine import engine_options, explain, prepare_sqlite
from hpo.storage.place import Place, check_place, read_url


def open_storage(url: str) -> StudyStorage:
    """The storage at `url` (`sqlite:///hpo.db`, `postgresql://user@host/database`). Nothing is created or connected.

    Raises UserError for a URL that cannot be used: unknown scheme, missing driver, `:memory:`, a folder that does not
    exist or lies on a network file system, a file that is no SQLite database.
    """
    place = read_url(url)
    check_place(place)
    return StudyStorage(place)


class StudyStorage:
    """Studies in one SQL database. A context manager; `close` writes what is left.

    place: where it is, for printing (no password).
    optuna: what `optuna.load_study(storage=...)` takes; made, with its tables, when first asked for.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._optuna: BaseStorage | None = None
        self._lock = threading.RLock()

    @property
    def place(self) -> str:
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
                self._optuna = self._open()
            return self._optuna

    def create_study(self, name: str, directions: Sequence[str], attrs: Mapping[str, Any] | None = None) -> None:
        """Make a study. directions: "minimize" or "maximize" for each objective; attrs: user attributes, JSON values.

        Raises Refused when the name is taken.
        """
        wanted = [StudyDirection[direction.upper()] for direction in directions]
        try:
            study_id = self.optuna.create_new_study(wanted, name)
        except optuna.exceptions.DuplicatedStudyError:
            raise Refused(f"study {name!r} exists already in {self.place}") from None
        for key, value in (attrs or {}).items():
            self.optuna.set_study_user_attr(study_id, key, value)

    def study_names(self) -> list[str]:
        """Names in order of creation; none for a database that does not exist, which stays so."""
        if not self._place.exists:
            return []
        if self._optuna is None and not self._has_tables():
            return []
        return [study.study_name for study in self.optuna.get_all_studies()]

    def exists(self, name: str) -> bool:
        """Whether a study of this name is there. Creates nothing."""
        return name in self.study_names()

    def delete_study(self, name: str) -> None:
        """Remove a study with all its trials. Raises NotFound when there is none."""
        if not self.exists(name):
            raise NotFound(f"study {name!r} does not exist in {self.place}")
        self.optuna.delete_study(self.optuna.get_study_id_from_name(name))

    def flush(self) -> None:
        """Return when everything written so far is committed."""

    def close(self) -> None:
        """Write what is left and let the connections go. Closing twice does nothing."""
        with self._lock:
            if isinstance(self._optuna, optuna.storages._CachedStorage):
                self._optuna._backend.engine.dispose()
            self._optuna = None

    def __enter__(self) -> StudyStorage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _has_tables(self) -> bool:
        """Whether Optuna's tables are there, looked up without switching the file to another journal mode."""
        engine = sa.create_engine(self._place.url, poolclass=sa.NullPool, **engine_options(self._place))
        try:
            return sa.inspect(engine).has_table("studies")
        except sa.exc.DBAPIError as error:
            raise explain(error, self._place) from None
        finally:
            engine.dispose()

    def _open(self) -> BaseStorage:
        try:
            if self._place.file is not None:
                engine = sa.create_engine(self._place.url, **engine_options(self._place))
                prepare_sqlite(engine)
                engine.connect().close()
                engine.dispose()
            rdb = RDBStorage(self.url, engine_kwargs=engine_options(self._place))
        except sa.exc.DBAPIError as error:
            raise explain(error, self._place) from None
        except optuna.exceptions.StorageInternalError as error:
            raise UserError(f"storage: cannot use {self.place}: {error}") from None
        except RuntimeError as error:
            raise UserError(f"storage: {self.place}: {self._place.clean(str(error))}") from None
        return optuna.storages._CachedStorage(rdb)
