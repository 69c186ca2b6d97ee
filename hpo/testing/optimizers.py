"""What every optimizer must do, as a class of tests to inherit.

class TestMine(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return optimizers.parse("mine")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hpo.testing.entries import EntrySuite
from hpo.training.checkpoint import CheckpointFile
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Rule

STEPS = 40
Reference = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def parameters() -> list[nn.Parameter]:
    """A matrix, a vector and a scalar."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(7, 5), (5,), ()]]


def set_gradients(moved: list[nn.Parameter], step: int) -> None:
    """The same gradients at the same step for equal parameters."""
    generator = torch.Generator().manual_seed(step)
    for p in moved:
        p.grad = torch.randn(p.shape, generator=generator) + 0.1 * p.detach()


def run(rule: Rule, moved: list[nn.Parameter], first: int, last: int) -> None:
    """Steps first ... last-1 at a learning rate that changes with the step."""
    for step in range(first, last):
        set_gradients(moved, step)
        rule.step(0.01 * (1 + step % 3))


class OptimizerSuite(EntrySuite):
    """Tests of one optimizer entry; a subclass gives it, and torch's own where there is one."""

    registry = optimizers

    @pytest.fixture
    def optimizer(self) -> Optimizer:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, optimizer: Optimizer) -> Optimizer:
        """The same, for the tests of any entry."""
        return optimizer

    @pytest.fixture
    def reference(self) -> Reference | None:
        """torch's optimizer with the same settings; None where torch has none."""
        return None

    def test_agrees_with_torch(self, optimizer: Optimizer, reference: Reference | None) -> None:
        if reference is None:
            return
        ours, theirs = parameters(), parameters()
        rule, original = optimizer.build(ours), reference(theirs)
        for step in range(STEPS):
            lr = 0.01 * (1 + step % 3)
            set_gradients(ours, step)
            set_gradients(theirs, step)
            rule.step(lr)
            original.param_groups[0]["lr"] = lr
            original.step()
        for mine, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, expected, rtol=2e-6, atol=1e-6)

    def test_goes_on_from_a_checkpoint_bit_for_bit(self, optimizer: Optimizer, tmp_path: Path) -> None:
        whole, broken = parameters(), parameters()
        run(optimizer.build(whole), whole, 0, STEPS)
        first = optimizer.build(broken)
        run(first, broken, 0, 17)
        file = CheckpointFile(tmp_path / "state.pt")
        assert file.save({"optimizer": first.state_dict()})
        run(first, [nn.Parameter(p.detach().clone()) for p in broken], 17, 19)  # the saved state is not the live one
        second = optimizer.build(broken)
        loaded = file.load()
        assert loaded is not None
        second.load_state_dict(loaded["optimizer"])
        run(second, broken, 17, STEPS)
        assert all(torch.equal(a, b) for a, b in zip(whole, broken, strict=True))

    def test_drops_gradients_and_leaves_a_parameter_without_one(self, optimizer: Optimizer) -> None:
        moved = parameters()
        rule = optimizer.build(moved)
        for step in range(3):
            set_gradients(moved, step)
            moved[1].grad = None
            still, others = moved[1].detach().clone(), moved[0].detach().clone()
            rule.step(0.1)
            assert torch.equal(moved[1], still)
            assert not torch.equal(moved[0], others)
            assert all(p.grad is None for p in moved)

    def test_stands_still_at_a_learning_rate_of_zero(self, optimizer: Optimizer) -> None:
        moved = parameters()
        before = [p.detach().clone() for p in moved]
        set_gradients(moved, 0)
        optimizer.build(moved).step(0.0)
        assert all(torch.equal(a, b) for a, b in zip(before, moved, strict=True))
