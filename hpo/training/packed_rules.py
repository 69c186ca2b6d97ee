"""The optimizers of a pack: the very `update` of an entry over K members at once.

Where an entry is elementwise, all trained parameters of a member lie behind one another in one vector, so that a step
is a dozen kernels over (K, P) whatever the number of layers. Other entries are mapped over the members parameter by
parameter. Numbers that differ from step to step are worked out for a whole epoch at once, in float64.

K members, P numbers of one network, S steps of an epoch, G groups of parameters that move on the same terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpo.training.optimizers import Optimizer
from hpo.training.rules import Terms
from hpo.training.shape import Unpackable

Row = dict[str, Tensor]
"""Tensors by name: of one member, or with a leading axis of all of them."""


class Layout:
    """How the trained parameters of a network lie behind one another in one vector."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        if {p.dtype for p in parameters.values()} != {torch.float32}:
            raise Unpackable("the model's parameters are not all float32")
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """The parameters in a vector (P,), or in K of them (K, P)."""
        before, parts = vector.shape[:-1], torch.split(vector, self.sizes, -1)
        return {
            name: part.view(*before, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def vector(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """(P,) of one network's; 0 for those that are not there."""
        there = next(iter(parameters.values()))
        found = (parameters.get(name) for name in self.shapes)
        flat = [
            there.new_zeros(size) if p is None else p.reshape(-1) for p, size in zip(found, self.sizes, strict=True)
        ]
        return torch.cat(flat)


@dataclass(frozen=True)
class EpochNumbers:
    """What the steps of an epoch need of scalars; (S, K, 1) float32, or (S, K, G) where groups differ."""

    constants: Mapping[str, Tensor]

    def at(self, step: int) -> dict[str, Tensor]:
        """Those of one step, (K, 1) or (K, G)."""
        return {name: table[step] for name, table in self.constants.items()}


class PackedRule:
    """An optimizer entry over the rows of a pack. Its state in a row: `slot.*` and `clock.*`."""

    def __init__(self, entry: Optimizer, terms: Mapping[str, Terms], layout: Layout, device: torch.device) -> None:
        """terms: of each parameter, as `Optimizer.terms` gives them."""
        self.entry, self.layout, self.device = entry, layout, device
        groups = list(dict.fromkeys((t.factor, t.decays) for t in terms.values()))
        self.group_of = {name: groups.index((t.factor, t.decays)) for name, t in terms.items()}
        sizes = torch.tensor(layout.sizes)
        self.group_P = torch.tensor([self.group_of[n] for n in layout.shapes]).repeat_interleave(sizes).to(device)
        self.in_second_P = self.group_P == 1
        self.factor_G = torch.tensor([factor for factor, _ in groups], dtype=torch.float64)
        self.decays_G = torch.tensor([float(decays) for _, decays in groups], dtype=torch.float64)

    # ------------------------------------------------------------------ state

    def row(self, state: Mapping[str, Any]) -> Row:
        """The row of a solo rule's `state_dict`. Raises Unpackable where its parameters are at different steps."""
        slots, clocks = state["slots"], state["clocks"]
        found: Row = {}
        for name in self.entry.clock():
            value_of = {self.group_of[parameter]: clock[name] for parameter, clock in clocks.items()}
            if any(clock[name] != value_of[self.group_of[parameter]] for parameter, clock in clocks.items()):
                raise Unpackable("some parameters had no gradient in some steps")
            groups = range(len(self.factor_G))
            found[f"clock.{name}"] = torch.tensor([value_of[g] for g in groups], dtype=torch.float64)
        for key, parameters in self._blocks(slots):
            found[f"slot.{key}"] = parameters
        return found

    def _blocks(self, slots: Mapping[str, Mapping[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        if not self.entry.elementwise:
            for parameter, own in slots.items():
                yield from ((f"{parameter}/{slot}", tensor) for slot, tensor in own.items())
            return
        for slot in next(iter(slots.values())):
            yield slot, self.layout.vector({parameter: own[slot] for parameter, own in slots.items()})

    def state(self, row: Row) -> dict[str, Any]:
        """`row` as the `state_dict` of a solo rule."""
        clocks = {
            parameter: {name: float(row[f"clock.{name}"][group]) for name in self.entry.clock()}
            for parameter, group in self.group_of.items()
        }
        slots: dict[str, dict[str, Tensor]] = {name: {} for name in self.layout.shapes}
        for key, tensor in row.items():
            kind, _, slot = key.partition(".")
            if kind != "slot":
                continue
            if self.entry.elementwise:
                for parameter, view in self.layout.views(tensor).items():
                    slots[parameter][slot] = view
            else:
                parameter, _, slot = slot.rpartition("/")
                slots[parameter][slot] = tensor
        return {"slots": slots, "clocks": clocks}

    # ------------------------------------------------------------------- step

    def epoch(self, numbers: Mapping[str, Tensor], rows: Row) -> EpochNumbers:
        """The constants of an epoch's steps; the clocks in `rows` move on to its end.

        numbers: the entry's by their names, (S, K) float64 on the CPU.
        """
        numbers_SKG = {
            name: table[..., None].expand(*table.shape, len(self.factor_G)) for name, table in numbers.items()
        }
        numbers_SKG["lr"] = numbers_SKG["lr"] * self.factor_G
        numbers_SKG["weight_decay"] = numbers_SKG["weight_decay"] * self.decays_G
        clock = {name: rows[f"clock.{name}"] for name in self.entry.clock()}
        clocks = []
        for step in range(len(numbers_SKG["lr"])):
            clock = self.entry.tick({name: table[step] for name, table in numbers_SKG.items()}, clock)
            clocks.append(clock)
        for name, value in clock.items():
            rows[f"clock.{name}"] = value
        clock_SKG = {name: torch.stack([clock[name] for clock in clocks]) for name in clock}
        found = self.entry.constants(numbers_SKG, clock_SKG)
        whole = numbers_SKG["lr"].shape
        return EpochNumbers({name: self._table(torch.as_tensor(c).expand(whole)) for name, c in found.items()})

    def _table(self, constant_SKG: Tensor) -> Tensor:
        same = bool((constant_SKG == constant_SKG[..., :1]).all())
        return (constant_SKG[..., :1] if same else constant_SKG).float().to(self.device)

    def _spread(self, constant: Tensor) -> Tensor:
        """(K, 1), or from (K, G) to (K, P)."""
        groups = constant.shape[1]
        if groups == 1:
            return constant
        if groups == 2:  # three times as fast as an index
            return torch.where(self.in_second_P, constant[:, 1:], constant[:, :1])
        return constant[:, self.group_P]

    def step(self, theta_KP: Tensor, gradient_KP: Tensor, rows: Row, constants: Mapping[str, Tensor]) -> Row:
        """What of `rows` is another after a step along the gradients; changes nothing in place."""
        if self.entry.elementwise:
            c = {name: self._spread(value) for name, value in constants.items()}
            slots = {key[5:]: tensor for key, tensor in rows.items() if key.startswith("slot.")}
            moved, kept = self.entry.update(theta_KP, gradient_KP, slots, c)
            return {"weights": moved} | {f"slot.{name}": tensor for name, tensor in kept.items()}
        found: Row = {}
        moved_of = {}
        gradients = self.layout.views(gradient_KP)
        for name, p_K in self.layout.views(theta_KP).items():
            begin = f"slot.{name}/"
            slots = {key[len(begin) :]: tensor for key, tensor in rows.items() if key.startswith(begin)}
            c = {key: value[:, min(self.group_of[name], value.shape[1] - 1)] for key, value in constants.items()}
            moved_of[name], kept = torch.vmap(self.entry.update)(p_K, gradients[name], slots, c)
            found |= {f"{begin}{slot}": tensor for slot, tensor in kept.items()}
        return found | {"weights": torch.cat([p_K.flatten(1) for p_K in moved_of.values()], 1)}
