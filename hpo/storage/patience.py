"""A transaction tried anew while the database does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from hpo.storage.engine import first_line
from hpo.storage.place import Place
from hpo.storage.refusals import StorageLost

R = TypeVar("R")
log = logging.getLogger("hpo.storage")

PATIENCE_SECONDS = 120.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0


def tried_anew(
    place: Place, patience: float, attempt: Callable[[bool], R], fault: str = "does not take what is written"
) -> R:
    """What `attempt` returns, called until it does not fail for a reason that passes.

    attempt: one whole transaction; called with whether an earlier one may have been committed after all.
    patience: seconds after which the next failure is StorageLost. What else `attempt` raises passes through.
    fault: what is wrong with the database then.
    """
    gives_up, wait, failures = time.monotonic() + patience, _FIRST_WAIT, 0
    while True:
        try:
            result = attempt(failures > 0)
            break
        except sa.exc.DBAPIError as error:
            if not _may_pass(error, place, failures) or time.monotonic() > gives_up:
                raise StorageLost(
                    f"storage: {place} {fault}: {first_line(error, place)}",
                    "what was told before is stored; resume the sweep when the database is well again",
                ) from error
            failures += 1
            if failures == 3:  # a lock or a deadlock has passed by now
                log.warning("waiting for %s: %s", place, first_line(error, place))
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
    if failures >= 3:
        log.warning("%s answers again", place)
    return result


def _may_pass(error: sa.exc.DBAPIError, place: Place, failures: int) -> bool:
    if isinstance(error, sa.exc.IntegrityError):
        # a study deleted, or a name or row inserted, between our look and our write: the next look sees it
        return failures < 5
    passing = isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)) or error.connection_invalidated
    return passing and not any(lasting in str(error.orig).lower() for lasting in place.dialect.lasting)
