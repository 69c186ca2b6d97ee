"""Where the coordinator's process finds the study: data that opens it there, since no connection crosses processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from hpo.search.messages import Measured

if TYPE_CHECKING:
    import optuna

    from hpo.storage import Lease


class OpenStudy(Protocol):
    """A study that was opened, with what makes its writes durable."""

    @property
    def study(self) -> optuna.Study:
        """The live study."""

    def flush(self) -> None:
        """Make everything written so far durable."""

    def batch(self) -> AbstractContextManager[None]:
        """A block whose writes are committed together."""

    def record(self, trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
        """Keep what a trial reports at a step besides the objective; written with the next flush."""

    def log(self, kind: str, text: str, trial: int | None) -> None:
        """Note what the run did; written with the next flush. trial: a number."""

    def recall(self, key: str) -> Measured | None:
        """What a run of any study measured under a key, where it still holds."""

    def keep(self, measured: Measured) -> None:
        """Remember it for all studies in the same database."""

    def close(self) -> None:
        """Write what is left and let go."""


class StudySource(Protocol):
    """Picklable; `open` is called once, in the coordinator's process."""

    def open(self) -> OpenStudy:
        """The study."""

    def under(self, lease: Lease) -> StudySource:
        """The same study, whose writes carry another number."""


@dataclass(frozen=True)
class SqlStudy:
    """A study in a SQL database. url: its password included, never printed. lease: what every write carries."""

    url: str
    name: str
    lease: Lease | None = None

    def open(self) -> OpenStudy:
        """Open the storage and load the study."""
        return _OpenSqlStudy(self)

    def under(self, lease: Lease) -> SqlStudy:
        """See StudySource."""
        return replace(self, lease=lease)

    def __repr__(self) -> str:
        return f"SqlStudy({self.name!r})"


class _OpenSqlStudy:
    def __init__(self, source: SqlStudy) -> None:
        import optuna

        from hpo.storage import open_storage

        self._storage = open_storage(source.url, source.lease)
        self._held = source.lease is not None  # an event is of a run
        self.study = optuna.load_study(study_name=source.name, storage=self._storage.optuna)

    def flush(self) -> None:
        self._storage.flush()

    def batch(self) -> AbstractContextManager[None]:
        return self._storage.batch()

    def record(self, trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
        self._storage.report_metrics(trial_id, step, metrics)

    def log(self, kind: str, text: str, trial: int | None) -> None:
        if self._held:
            self._storage.log_event(kind, text, trial)

    def recall(self, key: str) -> Measured | None:
        found = self._storage.pack_speed(key)
        return None if found is None else Measured(**vars(found))

    def keep(self, measured: Measured) -> None:
        from hpo.storage import PackSpeed

        fields = ("key", "solo", "pack", "members", "most", "measured")
        self._storage.keep_pack_speed(PackSpeed(**{name: getattr(measured, name) for name in fields}))

    def close(self) -> None:
        self._storage.close()
