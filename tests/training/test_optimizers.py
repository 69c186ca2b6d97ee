"""Every optimizer against its suite and torch.optim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import Field, ValidationError
from torch import nn

from hpo.testing.optimizers import OptimizerSuite, Reference, parameters, set_gradients
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Rule, TorchRule

CASES: list[tuple[dict[str, Any], Any]] = [
    ({"name": "sgd", "momentum": 0.0}, lambda p: torch.optim.SGD(p)),
    ({"name": "sgd"}, lambda p: torch.optim.SGD(p, momentum=0.9)),
    (
        {"name": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        lambda p: torch.optim.SGD(p, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    ({"name": "adam"}, lambda p: torch.optim.Adam(p)),
    (
        {"name": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1},
        lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
    ({"name": "adamw"}, lambda p: torch.optim.AdamW(p)),
    (
        {"name": "adamw", "beta1": 0.7, "weight_decay": 0.3},
        lambda p: torch.optim.AdamW(p, betas=(0.7, 0.999), weight_decay=0.3),
    ),
]


class TestOptimizers(OptimizerSuite):
    @pytest.fixture(params=CASES, ids=lambda case: "-".join(f"{k}={v}" for k, v in case[0].items()))
    def case(self, request: pytest.FixtureRequest) -> tuple[dict[str, Any], Reference]:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def optimizer(self, case: tuple[dict[str, Any], Reference]) -> Optimizer:
        return optimizers.parse(case[0])

    @pytest.fixture
    def reference(self, case: tuple[dict[str, Any], Reference]) -> Reference:
        return case[1]


def test_no_optimizer_is_forgotten_above() -> None:
    assert {fields["name"] for fields, _ in CASES} == set(optimizers)


def test_a_plugin_may_use_torch_optim() -> None:
    class Decay(Optimizer):
        """RMSprop, as torch has it."""

        alpha: float = Field(0.99, ge=0, lt=1, description="decay of the squares")

        def build(self, parameters: list[nn.Parameter]) -> Rule:
            return TorchRule(torch.optim.RMSprop(parameters, alpha=self.alpha, weight_decay=self.weight_decay))

    try:
        optimizers("decay")(Decay)

        ours, theirs = parameters(), parameters()
        rule, original = optimizers.parse("decay").build(ours), torch.optim.RMSprop(theirs)
        for step in range(5):
            set_gradients(ours, step)
            set_gradients(theirs, step)
            rule.step(0.02)
            original.param_groups[0]["lr"] = 0.02
            original.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert all(p.grad is None for p in ours)
        again = optimizers.parse("decay").build(ours)
        again.load_state_dict(rule.state_dict())
        assert again.state_dict()["state"].keys() == rule.state_dict()["state"].keys()
    finally:
        optimizers.remove("decay")


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValidationError, match="needs a momentum above 0"):
        optimizers.get("sgd").model_validate({"momentum": 0, "nesterov": True})
