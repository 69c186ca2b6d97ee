"""A thousand open trials that report once a second: nothing piles up, nothing is missed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import optuna
import pytest
import sqlalchemy as sa

from hpo.storage import open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.storage.tables import REPORTS

TRIALS, SECONDS, SLICES = 1_000, 20, 20


@dataclass
class Seen:
    """What was counted after each slice of a second.

    reported: how many reports were made by then, and when; committed: how many rows the database held; pending: how
    many waited in memory.
    """

    reported: list[tuple[float, int]] = field(default_factory=list)
    committed: list[tuple[float, int]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)

    def late(self, seconds: float) -> int:
        """The most reports, older than this, that the database did not hold at one look."""
        return max(
            max((count for at, count in self.reported if at <= looked - seconds), default=0) - held
            for looked, held in self.committed
        )


@pytest.mark.slow
def test_reports_of_a_thousand_trials_do_not_pile_up(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    reader = sa.create_engine(resolve(url), isolation_level="AUTOCOMMIT")
    count = sa.select(sa.func.count()).select_from(REPORTS.table)
    with open_storage(url) as opened, reader.connect() as looking:
        opened.create_study("a", ["minimize"])
        storage = opened.optuna
        assert isinstance(storage, BatchedStorage)
        study = optuna.load_study(study_name="a", storage=storage)
        with opened.batch():
            ids = [storage.create_new_trial(study._study_id) for _ in range(TRIALS)]
        began = time.monotonic()
        for n in range(SECONDS * SLICES):
            second, part = divmod(n, SLICES)
            for trial_id in ids[part::SLICES]:
                storage.set_trial_intermediate_value(trial_id, second, 1.0)
            seen.reported.append((time.monotonic(), (n + 1) * TRIALS // SLICES))
            seen.pending.append(len(storage._pending))
            looked = time.monotonic()
            seen.committed.append((looked, int(looking.scalar(count) or 0)))
            time.sleep(max(0.0, began + (n + 1) / SLICES - time.monotonic()))
        took = time.monotonic() - began
        opened.flush()
        assert looking.scalar(count) == TRIALS * SECONDS
    reader.dispose()
    half = len(seen.pending) // 2
    first, second_half = max(seen.pending[:half]), max(seen.pending[half:])
    with capsys.disabled():
        print(
            f"\n{url.partition(':')[0]}: {TRIALS * SECONDS / took:.0f} reports a second; at most {first} waited in the "
            f"first half, {second_half} in the second; {seen.late(0.5)} were not committed after 0.5 s"
        )
    # what waits is what was reported since the last commit, however long it goes on
    assert second_half <= max(2 * first, TRIALS)
    # half a second where the machine is free; four times that where it is shared
    assert seen.late(2.0) <= 0
