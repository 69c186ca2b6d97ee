"""A training function that trains nothing and reports five times, for scripts/bench/null_trials.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def train(config: Mapping[str, Any], trial: Any) -> None:
    """Five reports of the same number."""
    for step in range(5):
        trial.report(step, value=config["x"])
