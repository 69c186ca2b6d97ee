from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.storage import StudyStorage, open_storage
from hpo.storage.batched import BatchedStorage


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hpo.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def opened(url: str) -> Iterator[StudyStorage]:
    with open_storage(url) as opened:
        yield opened


@pytest.fixture
def storage(opened: StudyStorage) -> BatchedStorage:
    assert isinstance(opened.optuna, BatchedStorage)
    return opened.optuna
