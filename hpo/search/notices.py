"""Optuna's notices that an option is experimental: the one place where they are silenced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def experimental_allowed() -> Iterator[None]:
    """Within it Optuna's ExperimentalWarning is not shown: what may change there is for us to follow, not the user."""
    from optuna.exceptions import ExperimentalWarning  # entry modules must not wait for optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
