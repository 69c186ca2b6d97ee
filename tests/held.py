"""Runs in SQL as a launch would leave them, of whatever process a test wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hpo.holding import this_process
from hpo.storage import Holder, Lease, RunFacts, open_storage

SINCE = datetime(2026, 1, 1, 10, tzinfo=UTC)


def holder(**changes: Any) -> Holder:
    """This process, since a morning in January."""
    return replace(this_process("local"), **{"since": SINCE, **changes})


def record_run(url: str, name: str, ended: str | None = None, seconds: float = 4.5, **changes: Any) -> Lease:
    """A run of `holder(**changes)` that lives, as far as SQL knows, or ended for a reason."""
    with open_storage(url) as storage:
        records = storage.records(name)
        lease = records.take(holder(**changes), records.lease(), RunFacts({"hpo": "0"}), SINCE, alive=True)
        records.renew(lease, seconds, SINCE)
        if ended is not None:
            records.release(lease, ended, seconds, SINCE)
    return lease
