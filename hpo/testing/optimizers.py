"""What every optimizer must do, as a class of tests to inherit.

class TestMine(OptimizerSuite):
    @pytest.fixture
    def optimizer(self) -> Optimizer:
        return optimizers.parse("mine")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor, nn

from hpo.testing.entries import EntrySuite
from hpo.training.checkpoint import CheckpointFile
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Rule, Slots

STEPS = 40


class Original(Protocol):
    """What the suite asks of a torch optimizer."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Move the parameters along their `.grad`."""


Reference = Callable[[list[nn.Parameter]], Original]


class Shapes(nn.Module):
    """A matrix, a vector, a scalar and a kernel, drawn from `seed`."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name, shape in {"matrix": (7, 5), "vector": (5,), "scalar": (), "kernel": (3, 4, 6)}.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator)))


class Layers(nn.Sequential):
    """A linear layer, a norm and a head."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


def gradients(net: nn.Module, step: int) -> dict[str, Tensor]:
    """The same gradients at the same step for equal parameters."""
    generator = torch.Generator().manual_seed(step)
    named = net.named_parameters()
    return {name: torch.randn(p.shape, generator=generator) + 0.1 * p.detach() for name, p in named}


def run(rule: Rule, net: nn.Module, first: int, last: int) -> None:
    """Steps first ... last-1 at a learning rate that changes with the step."""
    for step in range(first, last):
        rule.step(gradients(net, step), {"lr": 0.01 * (1 + step % 3)})


def equal(first: nn.Module, second: nn.Module) -> bool:
    """Whether all parameters are the same to the bit."""
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def assert_near(found: nn.Module, expected: nn.Module, tolerance: float) -> None:
    """All parameters within `tolerance`, relative to the larger of their size and 1."""
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


class Pure:
    """A training by the entry's pure functions alone, as a pack uses them for one member."""

    def __init__(self, optimizer: Optimizer, net: nn.Module) -> None:
        self.optimizer, self.net = optimizer, net
        self.terms = optimizer.terms(net)
        self.clock: dict[str, Any] = optimizer.clock()
        self.slots = {name: optimizer.slots(p.detach(), self.terms[name].kinds) for name, p in net.named_parameters()}

    def step(self, found: dict[str, Tensor], lr: float) -> None:
        """One step of every parameter."""
        numbers = {**self.optimizer.numbers(), "lr": lr}
        self.clock = self.optimizer.tick(numbers, self.clock)
        for name, p in self.net.named_parameters():
            c = self.optimizer.constants(self.terms[name].numbers(numbers), self.clock)
            moved, self.slots[name] = self.optimizer.update(p.detach(), found[name], self.slots[name], c)
            p.data.copy_(moved)


class Pack:
    """K trainings of one entry at once: parameters, slots and numbers have a leading axis, `update` is vmapped."""

    def __init__(self, optimizer: Optimizer, nets: Sequence[nn.Module], numbers_K: dict[str, Tensor]) -> None:
        self.optimizer, self.numbers_K = optimizer, numbers_K
        self.clock_K: dict[str, Any] = {
            name: torch.full((len(nets),), value, dtype=torch.float64) for name, value in optimizer.clock().items()
        }
        self.weights_K = {
            n: torch.stack([dict(net.named_parameters())[n].detach() for net in nets]) for n in names(nets)
        }
        self.slots_K = {n: torch.vmap(optimizer.slots)(weight_K) for n, weight_K in self.weights_K.items()}

    def step(self, gradients_K: dict[str, Tensor], alive_K: Tensor) -> None:
        """One step of every member that is alive."""
        self.clock_K = self.optimizer.tick(self.numbers_K, self.clock_K)
        constants = self.optimizer.constants(self.numbers_K, self.clock_K)
        constants_K = {name: value.float() for name, value in constants.items()}
        for name, weight_K in self.weights_K.items():
            inputs = (weight_K, gradients_K[name], self.slots_K[name], constants_K, alive_K)
            self.weights_K[name], self.slots_K[name] = torch.vmap(self._member)(*inputs)

    def _member(self, p: Tensor, g: Tensor, slots: Slots, c: dict[str, Tensor], alive: Tensor) -> tuple[Tensor, Slots]:
        moved, kept = self.optimizer.update(p, g, slots, c)
        return torch.where(alive, moved, p), {name: torch.where(alive, new, slots[name]) for name, new in kept.items()}


def names(nets: Sequence[nn.Module]) -> list[str]:
    """The names of their parameters."""
    return [name for name, _ in nets[0].named_parameters()]


class OptimizerSuite(EntrySuite):
    """Tests of one optimizer entry; a subclass gives it, and torch's own where there is one."""

    registry = optimizers

    @pytest.fixture
    def optimizer(self) -> Optimizer:
        """The entry under test, its `no_decay` none where torch's has no such thing."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, optimizer: Optimizer) -> Optimizer:
        """The same, for the tests of any entry."""
        return optimizer

    @pytest.fixture
    def reference(self) -> Reference | None:
        """torch's optimizer with the same settings; None where torch has none."""
        return None

    @pytest.fixture
    def steady(self) -> bool:
        """Whether torch's agrees only while the learning rate stays as it is."""
        return False

    @pytest.fixture(params=["as the loop steps", "as a pack steps"])
    def stepper(self, optimizer: Optimizer, request: pytest.FixtureRequest) -> Callable[[nn.Module], Any]:
        """What steps a network: `stepper(net)(gradients, lr)`."""
        if request.param == "as a pack steps":
            return lambda net: Pure(optimizer, net).step

        def solo(net: nn.Module) -> Any:
            rule = optimizer.build(net)
            return lambda found, lr: rule.step(found, {"lr": lr})

        return solo

    @pytest.mark.parametrize(("steps", "together", "tolerance"), [(STEPS, True, 1e-6), (200, False, 1e-4)])
    def test_agrees_with_torch(
        self,
        optimizer: Optimizer,
        reference: Reference | None,
        stepper: Any,
        steady: bool,
        steps: int,
        together: bool,
        tolerance: float,
    ) -> None:
        """Single steps from the same state, and whole runs."""
        if reference is None:
            return
        ours, theirs = Shapes(), Shapes()
        step, original = stepper(ours), reference(list(theirs.parameters()))
        for t in range(steps):
            lr = optimizer.lr * (1 if steady else 1 + t % 3)
            if together:
                theirs.load_state_dict(ours.state_dict())
            for name, gradient in gradients(theirs, t).items():
                theirs.get_parameter(name).grad = gradient
            for group in original.param_groups:
                group["lr"] = lr
            step(gradients(ours, t), lr)
            original.step()
            if together:
                assert_near(ours, theirs, tolerance)
        assert_near(ours, theirs, tolerance)

    def test_goes_on_from_a_checkpoint_bit_for_bit(self, optimizer: Optimizer, tmp_path: Path) -> None:
        whole, broken = Shapes(), Shapes()
        run(optimizer.build(whole), whole, 0, STEPS)
        first = optimizer.build(broken)
        run(first, broken, 0, 17)
        file = CheckpointFile(tmp_path / "state.pt")
        assert file.save({"optimizer": first.state_dict(), "net": broken.state_dict()})
        run(first, broken, 17, 19)  # the saved state is not the live one
        second = optimizer.build(broken)
        loaded = file.load()
        assert loaded is not None
        broken.load_state_dict(loaded["net"])
        second.load_state_dict(loaded["optimizer"])
        run(second, broken, 17, STEPS)
        assert equal(whole, broken)

    def test_leaves_a_parameter_without_a_gradient_and_its_time(self, optimizer: Optimizer) -> None:
        net, alone = Shapes(), Shapes()
        rule, other = optimizer.build(net), optimizer.build(alone)
        for step in range(6):
            found = gradients(net, step)
            if step % 2:
                del found["vector"]
            before = {name: p.detach().clone() for name, p in net.named_parameters()}
            rule.step(found, {"lr": 0.1})
            assert torch.equal(net.get_parameter("vector"), before["vector"]) == (step % 2 == 1)
            assert not torch.equal(net.get_parameter("matrix"), before["matrix"])
        for step in (0, 2, 4):
            other.step({"vector": gradients(alone, step)["vector"]}, {"lr": 0.1})
        untouched = Shapes()
        for name, p in alone.named_parameters():
            same = net if name == "vector" else untouched
            torch.testing.assert_close(p, same.get_parameter(name))

    def test_stands_still_at_a_learning_rate_of_zero(self, optimizer: Optimizer) -> None:
        net = Shapes()
        optimizer.build(net).step(gradients(net, 0), {"lr": 0.0})
        assert equal(net, Shapes())

    def test_weight_decay_leaves_norms_and_biases_alone(self, optimizer: Optimizer) -> None:
        ends = {}
        for no_decay, pull in (("norm_and_bias", 0.5), ("none", 0.5), ("none", 0.0)):
            net = Layers()
            entry = optimizer.model_copy(update={"no_decay": no_decay, "weight_decay": pull})
            run(entry.build(net), net, 0, 3)
            ends[no_decay, pull] = dict(net.named_parameters())
        usual, everywhere, nowhere = ends.values()
        for name in usual:
            like = everywhere if name in ("0.weight", "2.weight") else nowhere
            assert torch.equal(usual[name], like[name]), name
            assert not torch.equal(everywhere[name], nowhere[name]), name

    def test_multiplies_the_learning_rate_of_what_is_named(self, optimizer: Optimizer) -> None:
        ends = {}
        for factors, lr in (({"head": 3.0, "0": 0.0}, 0.01), ({}, 0.01), ({}, 0.03)):
            net = Layers()
            optimizer.model_copy(update={"lr_multipliers": factors}).build(net).step(gradients(net, 0), {"lr": lr})
            ends[len(factors), lr] = dict(net.named_parameters())
        multiplied, plain, faster = ends.values()
        start = dict(Layers().named_parameters())
        for name, p in multiplied.items():
            like = {"0": start, "1": plain, "2": faster}[name[0]]
            assert torch.equal(p, like[name]), name

    def test_takes_other_numbers_for_one_step(self, optimizer: Optimizer) -> None:
        changed = {name: 0.9 * value for name, value in optimizer.numbers().items() if name in ("beta1", "momentum")}
        changed["weight_decay"] = 0.2
        ours, theirs = Shapes(), Shapes()
        rule = optimizer.model_copy(update={"weight_decay": 0.1}).build(ours)
        rule.step(gradients(ours, 0), {"lr": 0.01, **changed})
        optimizer.model_copy(update=changed).build(theirs).step(gradients(theirs, 0), {"lr": 0.01})
        assert equal(ours, theirs)

    def test_says_why_it_cannot_be_packed(self, optimizer: Optimizer) -> None:
        assert optimizer.packable != bool(optimizer.reason)

    def test_a_row_of_a_pack_is_a_training_of_its_own(self, optimizer: Optimizer) -> None:
        if not optimizer.packable:
            return
        entries = [optimizer.model_copy(update=other) for other in self.members(optimizer)]
        nets = [Shapes(seed) for seed in range(len(entries))]
        numbers_K = {
            name: torch.tensor([entry.numbers()[name] for entry in entries], dtype=torch.float64)
            for name in optimizer.numbers()
        }
        pack = Pack(optimizer, nets, numbers_K)
        poisoned = Pack(optimizer, nets, numbers_K)
        alone = [Pure(entry, net) for entry, net in zip(entries, nets, strict=True)]
        everyone = torch.ones(len(nets), dtype=torch.bool)
        for t in range(20):
            members = [gradients(net, t + 100 * k) for k, net in enumerate(nets)]
            stacked = {name: torch.stack([member[name] for member in members]) for name in names(nets)}
            pack.step(stacked, everyone)
            bad = {
                name: gradient.clone().index_fill_(0, torch.tensor([1]), torch.nan)
                for name, gradient in stacked.items()
            }
            poisoned.step(bad, torch.arange(len(nets)) != 1)
            for k, member in enumerate(members):
                alone[k].step(member, entries[k].lr)
                for name, p in nets[k].named_parameters():
                    row = pack.weights_K[name][k]
                    torch.testing.assert_close(row, p.detach(), rtol=1e-5, atol=1e-6)
                    kept = poisoned.weights_K[name][k]
                    assert (
                        torch.equal(kept, row)
                        if k != 1
                        else torch.equal(kept, dict(Shapes(1).named_parameters())[name])
                    )

    def members(self, optimizer: Optimizer) -> list[dict[str, Any]]:
        """Numbers in which four members of a pack differ."""
        numbers, found = optimizer.numbers().items(), []
        for k in range(4):
            betas = {name: value * (1 - 0.05 * k) for name, value in numbers if "beta" in name}
            found.append({**betas, "lr": optimizer.lr * (1 + k), "weight_decay": 0.1 * k})
        return found
