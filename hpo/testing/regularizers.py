"""What every regularizer must do, as a class of tests to inherit.

class TestMine(RegularizerSuite):
    @pytest.fixture
    def regularizer(self) -> Regularizer:
        return regularizers.get("mine")(strength=0.5)
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpo.tasks import Task
from hpo.testing.entries import EntrySuite
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task
from hpo.training.regularization import Regularization
from hpo.training.regularizers import Regularizer, regularizers


def small_task() -> Task:
    """200 random points of three classes."""
    rng = np.random.default_rng(0)
    x_NP = rng.normal(size=(200, 6)).astype(np.float32)
    y_N = (x_NP[:, :3]).argmax(axis=1)
    return Task(train=(x_NP[:150], y_N[:150]), val=(x_NP[150:], y_N[150:]))


def weights(regularization: Regularization) -> torch.Tensor:
    """All weights after three epochs."""
    config = TrainingConfig(epochs=3, batch_size=16, regularization=regularization)
    net = train_task(config, small_task(), Answers().trial(), device="cpu").net
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class RegularizerSuite(EntrySuite):
    """Tests of one regularizer entry; a subclass gives it, with a strength that matters, as `regularizer`."""

    registry = regularizers

    @pytest.fixture
    def regularizer(self) -> Regularizer:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, regularizer: Regularizer) -> Regularizer:
        """The same, for the tests of any entry."""
        return regularizer

    def test_is_off_unless_its_main_field_is_set(self, regularizer: Regularizer) -> None:
        assert type(regularizer)().strength == 0
        assert regularizer.strength > 0

    def test_off_trains_as_if_it_were_absent(self, regularizer: Regularizer) -> None:
        off = Regularization({regularizer.name: type(regularizer)()})
        assert torch.equal(weights(off), weights(Regularization()))

    def test_on_changes_the_training_the_same_way_each_time(self, regularizer: Regularizer) -> None:
        on = Regularization({regularizer.name: regularizer})
        first = weights(on)
        assert torch.equal(first, weights(on))
        assert not torch.equal(first, weights(Regularization()))

    def test_is_written_by_its_main_field_alone(self, regularizer: Regularizer) -> None:
        section = Regularization.parse({regularizer.name: regularizer.strength})
        assert section[regularizer.name].strength == regularizer.strength
        assert section == Regularization.parse({regularizer.name: {regularizer.main: regularizer.strength}})
        assert section == Regularization.parse(section.dump())
