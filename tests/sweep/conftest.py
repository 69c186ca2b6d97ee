from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.sweep import Sweep

GOOD = {
    "name": "tried",
    "task": "digits",
    "space": {"optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True}},
    "objective": {"metric": "val_accuracy", "direction": "maximize"},
    "budget": {"trials": 3},
}


@pytest.fixture
def good() -> dict[str, Any]:
    """The keys of a small sweep that is right."""
    return {key: dict(value) if isinstance(value, dict) else value for key, value in GOOD.items()}


@pytest.fixture
def build(good: dict[str, Any], tmp_path: Path) -> Callable[..., Sweep]:
    """A sweep in an empty folder, of the good keys with some changed; None leaves one out."""

    def made(changes: dict[str, Any] | None = None, **more: Any) -> Sweep:
        keys = {**good, **(changes or {}), **more}
        return Sweep.from_dict({key: value for key, value in keys.items() if value is not None}, tmp_path)

    return made
