"""What every regularizer must do, as a class of tests to inherit.

class TestMine(RegularizerSuite):
    @pytest.fixture
    def regularizer(self) -> Regularizer:
        return regularizers.get("mine")(strength=0.5)
"""

from __future__ import annotations

import pytest

from hpo.testing.strengths import StrengthSuite
from hpo.training.regularization import Regularization
from hpo.training.regularizers import Regularizer, regularizers


class RegularizerSuite(StrengthSuite):
    """Tests of one regularizer entry; a subclass gives it, with a strength that matters, as `regularizer`."""

    registry = regularizers
    section = Regularization

    @pytest.fixture
    def regularizer(self) -> Regularizer:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def strength(self, regularizer: Regularizer) -> Regularizer:
        """The same, for the tests of any entry with a strength."""
        return regularizer
