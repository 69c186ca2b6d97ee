from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own; it is not there yet."""
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
