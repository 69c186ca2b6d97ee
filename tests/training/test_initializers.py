"""Every initializer against its suite and its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hpo.testing.initializers import InitializerSuite
from hpo.training.initializers import Initializer, initializers

# for a Linear(400, 900): fan in 400, fan out 900
VARIANCES: dict[str, float | None] = {
    "kaiming_normal": 2 / 400,
    "kaiming_uniform": 2 / 400,
    "xavier_normal": 2 / (400 + 900),
    "xavier_uniform": 2 / (400 + 900),
    "orthogonal": 1 / 900,  # 400 orthonormal columns of length 900
    "default": 1 / (3 * 400),  # uniform within 1/sqrt(fan in)
}


class TestInitializers(InitializerSuite):
    @pytest.fixture(params=list(initializers))
    def initializer(self, request: pytest.FixtureRequest) -> Initializer:
        return initializers.parse(request.param)

    @pytest.fixture
    def variance(self, initializer: Initializer) -> float | None:
        return VARIANCES.get(initializer.name)


@pytest.mark.parametrize(("name", "variance"), [("kaiming_uniform", 2 / 400), ("xavier_uniform", 2 / 1300)])
def test_uniform_stays_within_its_bounds_and_reaches_them(name: str, variance: float) -> None:
    layer, bound = nn.Linear(400, 900), math.sqrt(3 * variance)
    initializers.parse(name).apply(layer)
    assert layer.weight.abs().max().item() <= bound
    assert layer.weight.abs().max().item() > 0.999 * bound


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (16, 4, 3, 3)])
def test_orthogonal_rows_or_columns_are_orthogonal(shape: tuple[int, ...]) -> None:
    weight = torch.empty(shape)
    initializers.parse({"name": "orthogonal", "gain": 2.0}).fill(weight)
    matrix = weight.flatten(1)
    small = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(small, 4 * torch.eye(len(small)), atol=1e-5, rtol=0)


def test_fields_change_the_scale() -> None:
    def deviation(**fields: object) -> float:
        weight = torch.empty(900, 400)
        initializers.parse(fields).fill(weight)
        return weight.std().item()

    assert deviation(name="kaiming_normal", mode="fan_out") == pytest.approx(math.sqrt(2 / 900), rel=0.01)
    assert deviation(name="kaiming_normal", negative_slope=1.0) == pytest.approx(math.sqrt(1 / 400), rel=0.01)
    assert deviation(name="xavier_normal", gain=3.0) == pytest.approx(3 * math.sqrt(2 / 1300), rel=0.01)
