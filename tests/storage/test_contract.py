"""Optuna's own conformance tests and ours, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpo.storage.batched import BatchedStorage
from hpo.testing.storage import StorageSuite


class TestContract(StorageSuite):
    @pytest.fixture
    def storage(self, storage: BatchedStorage) -> BatchedStorage:
        return storage

    @pytest.fixture
    def url(self, url: str) -> str:
        return url

    @pytest.fixture
    def settle(self, storage: BatchedStorage) -> Callable[[], None]:
        return storage.flush
