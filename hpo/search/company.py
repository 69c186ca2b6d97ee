"""How a trial was trained that was not trained by one process by itself, so that its numbers are so to a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.search import attributes


def company(attrs: Mapping[str, Any]) -> str | None:
    """`in a pack`, `by 2 workers`; None for a trial of one process, by itself. attrs: the trial's user attributes."""
    found = ["in a pack"] if attrs.get(attributes.PACKED) else []
    workers = workers_of(attrs)
    if workers > 1:
        found.append(f"by {workers} workers")
    return " and ".join(found) or None


def workers_of(attrs: Mapping[str, Any]) -> int:
    """The most processes that trained it together."""
    return int(attrs.get(attributes.WORKERS) or 1)
