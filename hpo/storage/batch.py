"""Changes that are not in the database yet: the newest value of each row, and the newest state of each trial."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import TrialState

from hpo.storage.own.events import EVENTS
from hpo.storage.own.metrics import METRICS
from hpo.storage.tables import OF_STUDIES, OF_TRIALS, PARAMS, Cells, Row

ALL_CELLS = (*OF_TRIALS, *OF_STUDIES, METRICS, EVENTS)
"""Everything that a batch may hold rows of."""


@dataclass(frozen=True)
class Change:
    """A trial's new state, and the states it may have had in the database until then.

    start, complete: naive UTC where the change sets them; together with the state they tell our own change, committed
    by a transaction whose answer was lost, from somebody else's.
    """

    state: TrialState
    allowed: frozenset[TrialState]
    start: dt.datetime | None = None
    complete: dt.datetime | None = None

    def after(self, older: Change) -> Change:
        """This change when `older`, of the same trial, has not been written yet either."""
        return replace(self, start=self.start or older.start, allowed=self.allowed | older.allowed)

    def columns(self) -> Row:
        """The columns it sets."""
        moments = {"datetime_start": self.start, "datetime_complete": self.complete}
        return {"state": self.state, **{name: moment for name, moment in moments.items() if moment is not None}}


class Batch:
    """Rows to be written in one transaction. Not thread safe: whoever holds it holds its lock."""

    def __init__(self) -> None:
        self.trials: dict[int, Row] = {}
        """Whole trial rows by id: only filled where they may have to be written again."""
        self.states: dict[int, Change] = {}
        self.cells: dict[Cells, dict[tuple[Any, ...], Row]] = {}
        """Rows by key, whose first part says whose they are: the id of a trial or of a study, an event's own UUID."""

    def put(self, cells: Cells, row: Row) -> None:
        """Add a row; it takes the place of an older one of the same key."""
        self.cells.setdefault(cells, {})[tuple([row[name] for name in cells.keys])] = row

    def put_metrics(self, trial_id: int, rows: Iterable[Row]) -> None:
        """Add what a trial reports besides the objective: the rows name it by its number, the batch by its id."""
        self.cells.setdefault(METRICS, {}).update({(trial_id, row["step"], row["name"]): row for row in rows})

    def put_all(self, rows: Iterable[tuple[Cells, Row]]) -> None:
        """Put several rows, each beside the columns it sets."""
        for cells, row in rows:
            self.put(cells, row)

    def change(self, trial_id: int, change: Change) -> None:
        """Set a trial's state."""
        older = self.states.get(trial_id)
        self.states[trial_id] = change if older is None else change.after(older)

    def update(self, newer: Batch) -> None:
        """Take over everything from a newer batch."""
        self.trials.update(newer.trials)
        for trial_id, change in newer.states.items():
            self.change(trial_id, change)
        for cells, rows in newer.cells.items():
            self.cells.setdefault(cells, {}).update(rows)

    def __len__(self) -> int:
        return len(self.trials) + len(self.states) + sum(map(len, self.cells.values()))

    @property
    def finishes(self) -> bool:
        """Whether a trial ends here, which must outlive a power cut."""
        return any(change.state.is_finished() for change in self.states.values())

    @property
    def urgent(self) -> bool:
        """Whether something waits in here that others must not act on before it is committed."""
        return bool(self.states) or bool(self.cells.get(PARAMS))

    def trial_ids(self) -> set[int]:
        """Trials with a change in here."""
        ids = set(self.states)
        for cells in (*OF_TRIALS, METRICS):
            ids.update(key[0] for key in self.cells.get(cells, ()))
        return ids

    def study_ids(self) -> set[int]:
        """Studies with a changed attribute in here."""
        return {key[0] for cells in OF_STUDIES for key in self.cells.get(cells, ())}

    def holds(self, cells: Cells, *key: object) -> bool:
        """Whether a row of this key waits in here."""
        return key in self.cells.get(cells, {})

    def without(self, trial_ids: set[int], study_ids: set[int]) -> Batch:
        """A batch of everything that belongs to none of these; events are of runs and stay."""
        rest = Batch()
        rest.trials = {key: row for key, row in self.trials.items() if key not in trial_ids}
        rest.states = {key: change for key, change in self.states.items() if key not in trial_ids}
        for cells, rows in self.cells.items():
            barred = study_ids if cells in OF_STUDIES else trial_ids
            rest.cells[cells] = {key: row for key, row in rows.items() if key[0] not in barred}
        return rest
