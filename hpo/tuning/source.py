"""Where the coordinator's process finds the study: data that opens it there, since no connection crosses processes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import optuna


class OpenStudy(Protocol):
    """A study that was opened, with what makes its writes durable."""

    @property
    def study(self) -> optuna.Study:
        """The live study."""

    def flush(self) -> None:
        """Make everything written so far durable."""

    def batch(self) -> AbstractContextManager[None]:
        """A block whose writes are committed together."""

    def close(self) -> None:
        """Write what is left and let go."""


class StudySource(Protocol):
    """Picklable; `open` is called once, in the coordinator's process."""

    def open(self) -> OpenStudy:
        """The study."""


@dataclass(frozen=True)
class SqlStudy:
    """A study in a SQL database. url: its password included, never printed."""

    url: str
    name: str

    def open(self) -> OpenStudy:
        """Open the storage and load the study."""
        return _OpenSqlStudy(self)

    def __repr__(self) -> str:
        return f"SqlStudy({self.name!r})"


class _OpenSqlStudy:
    def __init__(self, source: SqlStudy) -> None:
        import optuna

        from hpo.storage import open_storage

        self._storage = open_storage(source.url)
        self.study = optuna.load_study(study_name=source.name, storage=self._storage.optuna)

    def flush(self) -> None:
        self._storage.flush()

    def batch(self) -> AbstractContextManager[None]:
        return self._storage.batch()

    def close(self) -> None:
        self._storage.close()
