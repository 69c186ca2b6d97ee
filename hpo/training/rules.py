"""Update rules: how one network's parameters are stepped by an optimizer entry, and what the loop may ask of that.

torch.optim computes the same (the tests compare), but importing what it needs (torch._dynamo) takes 1.5 s in every
worker, and its bookkeeping costs a third of a small model's step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hpo.training.slots import Gradients

Numbers = Mapping[str, Any]
"""Scalars by name: floats, or float64 tensors of one shape, (K,) for K members."""
Slots = dict[str, "Tensor"]
"""What an optimizer keeps beside one parameter."""


@dataclass(frozen=True)
class Terms:
    """On what terms a parameter moves. factor: of the learning rate.  decays: whether weight decay pulls it."""

    factor: float
    decays: bool
    kinds: frozenset[str]

    def numbers(self, numbers: Numbers) -> dict[str, Any]:
        """An optimizer's numbers as they hold for this parameter."""
        pull = numbers["weight_decay"] if self.decays else 0.0 * numbers["weight_decay"]
        return {**numbers, "lr": numbers["lr"] * self.factor, "weight_decay": pull}


class Rule(Protocol):
    """What the loop asks of an optimizer."""

    def step(self, gradients: Gradients, numbers: Numbers) -> None:
        """Move each parameter along its gradient, in place. A parameter without one stands still.

        numbers: the learning rate, and what else is not the entry's own in this step, by name: `{"lr": 0.1}`. They are
        the entry's times a factor: a weight decay of 0 stays 0.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs; tensors, numbers, lists and dicts only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s values back, copied to the parameters' devices."""


class Stepper(Protocol):
    """What a rule asks of an optimizer entry (`hpo.training.optimizers`)."""

    def numbers(self) -> dict[str, float]:
        """What may differ from step to step."""

    def clock(self) -> dict[str, float]:
        """Scalars that only time moves."""

    def tick(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        """The clock at the next step."""

    def slots(self, parameter: Tensor, kinds: frozenset[str]) -> Slots:
        """Fresh tensors to keep beside a parameter."""

    def move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        numbers: Numbers,
        clock: Numbers,
    ) -> None:
        """Step parameters and slots in place."""


@dataclass
class _Bucket:
    """Parameters that moved on the same terms at all the same steps; `slots[name][i]` is beside `parameters[i]`."""

    terms: Terms
    clock: dict[str, float]
    names: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)
    slots: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, name: str, parameter: nn.Parameter, slots: Slots) -> None:
        self.names.append(name)
        self.parameters.append(parameter)
        for slot, tensor in slots.items():
            self.slots.setdefault(slot, []).append(tensor)

    def kept(self) -> dict[str, Slots]:
        """The slots of each parameter by its name."""
        return {name: {slot: own[i] for slot, own in self.slots.items()} for i, name in enumerate(self.names)}

    def split(self, gradients: list[Any]) -> list[_Bucket]:
        """Those that have a gradient and those that have not."""
        parts, kept = [_Bucket(self.terms, dict(self.clock)) for _ in range(2)], self.kept()
        for name, parameter, gradient in zip(self.names, self.parameters, gradients, strict=True):
            parts[gradient is None].add(name, parameter, kept[name])
        return [part for part in parts if part.names]


class Solo:
    """The rule of one network: an entry's `move` over its parameters, a call for all that move on the same terms."""

    def __init__(self, entry: Stepper, parameters: Mapping[str, nn.Parameter], terms: Mapping[str, Terms]) -> None:
        """parameters: those that `terms` names move."""
        self.entry, self.numbers = entry, entry.numbers()
        # a schedule multiplies, so where there is no pull nothing is spared from it: one call does for all
        self.terms = terms if self.numbers["weight_decay"] else {n: replace(t, decays=False) for n, t in terms.items()}
        self.parameters = {name: parameters[name] for name in terms}
        fresh = {name: entry.slots(p.detach(), terms[name].kinds) for name, p in self.parameters.items()}
        self._fill(fresh, dict.fromkeys(fresh, entry.clock()))

    def _fill(self, slots: Mapping[str, Slots], clocks: Mapping[str, dict[str, float]]) -> None:
        found: dict[Any, _Bucket] = {}
        for name, parameter in self.parameters.items():
            terms, clock = self.terms[name], clocks[name]
            key = (terms.factor, terms.decays, tuple(slots[name]), tuple(clock.values()))
            found.setdefault(key, _Bucket(terms, dict(clock))).add(name, parameter, slots[name])
        self.buckets = list(found.values())

    def step(self, gradients: Gradients, numbers: Numbers) -> None:
        """See Rule."""
        numbers = {**self.numbers, **numbers}
        with torch.no_grad():
            after = []
            for bucket in self.buckets:
                found = [gradients.get(name) for name in bucket.names]
                moving = [gradient for gradient in found if gradient is not None]
                parts = [bucket] if len(moving) == len(found) else bucket.split(found)
                if moving:
                    self._move(parts[0], moving, numbers)
                after += parts
            self.buckets = after

    def _move(self, bucket: _Bucket, gradients: list[Tensor], numbers: Numbers) -> None:
        own = bucket.terms.numbers(numbers)
        bucket.clock = self.entry.tick(own, bucket.clock)
        self.entry.move(bucket.parameters, gradients, bucket.slots, own, bucket.clock)

    def state_dict(self) -> dict[str, Any]:
        """See Rule."""
        slots = {name: own for bucket in self.buckets for name, own in bucket.kept().items()}
        clocks = {name: dict(bucket.clock) for bucket in self.buckets for name in bucket.names}
        return {"slots": slots, "clocks": clocks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Rule."""
        places = {name: p.device for name, p in self.parameters.items()}
        slots = {
            name: {slot: tensor.detach().to(place, copy=True) for slot, tensor in state["slots"][name].items()}
            for name, place in places.items()
        }
        self._fill(slots, state["clocks"])


class TorchRule:
    """Any `torch.optim` optimizer as a rule, for entries of plugins; made over `torch_groups` it knows their terms."""

    def __init__(self, optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
        self.optimizer = optimizer
        self.parameters = dict(net.named_parameters())

    def step(self, gradients: Gradients, numbers: Numbers) -> None:
        """See Rule; numbers go by the names of the optimizer's options."""
        for name, p in self.parameters.items():
            p.grad = gradients.get(name)
        for group in self.optimizer.param_groups:
            spared = {"lr"} if group.get("decays", True) else {"lr", "weight_decay"}
            group["lr"] = numbers["lr"] * group.get("factor", 1.0)
            group.update({name: value for name, value in numbers.items() if name not in spared})
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """See Rule."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Rule."""
        self.optimizer.load_state_dict(state)
