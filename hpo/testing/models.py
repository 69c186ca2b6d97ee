"""What every model must do, as a class of tests to inherit.

class TestMine(ModelSuite):
    input_shape = (3, 32, 32)

    @pytest.fixture
    def model(self) -> ModelEntry:
        return models.parse("mine")
"""

from __future__ import annotations

import pytest
import torch

from hpo.tasks import ModelEntry, models
from hpo.testing.entries import EntrySuite


class ModelSuite(EntrySuite):
    """Tests of one model entry; a subclass gives it as the fixture `model`, and an input shape that it takes."""

    registry = models
    input_shape: tuple[int, ...] = (1, 8, 8)

    @pytest.fixture
    def model(self) -> ModelEntry:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, model: ModelEntry) -> ModelEntry:
        """The same, for the tests of any entry."""
        return model

    def test_gives_one_score_for_each_output(self, model: ModelEntry) -> None:
        net = model.build(self.input_shape, 7)
        assert net(torch.rand(5, *self.input_shape)).shape == (5, 7)

    def test_draws_its_weights_from_torchs_seed_and_nothing_else(self, model: ModelEntry) -> None:
        built = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            built.append(torch.cat([p.flatten() for p in model.build(self.input_shape, 7).parameters()]))
        assert torch.equal(built[0], built[1])
        assert not torch.equal(built[0], built[2])

    def test_has_places_for_dropout_that_are_off(self, model: ModelEntry) -> None:
        places = [m for m in model.build(self.input_shape, 7).modules() if isinstance(m, torch.nn.Dropout)]
        assert places
        assert all(place.p == 0 for place in places)

    def test_every_parameter_takes_part(self, model: ModelEntry) -> None:
        net = model.build(self.input_shape, 7)
        net(torch.rand(64, *self.input_shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters())
