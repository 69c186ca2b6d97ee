"""Optimizers, one file an entry, registered with `@optimizers(...)`.

An entry is a rule for one parameter in tensor terms; it reads no schedule and does not know how many networks train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from hpo.lazy import torch
from hpo.registry import Entry, Registry
from hpo.schema import flatten
from hpo.training.kinds import factors, parameter_kinds, undecayed
from hpo.training.many import Many
from hpo.training.rules import Numbers, Rule, Slots, Solo, Terms
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor, nn


class Optimizer(Entry):
    """How gradients move parameters. Every entry has the highest learning rate and weight decay.

    An entry says in `slots` what it keeps beside a parameter, in `constants` what a step needs of scalars, and in
    `update` how one parameter moves. All three are pure, so one network, many parameters at once and a stack of
    networks under torch.func.vmap are served by the same lines. `move` may be overridden with a quicker kernel.

    Facts: `packable` says that `update` can be vmapped and gives the same numbers there, `reason` why not;
    `elementwise` that the numbers inside a parameter do not look at each other; `by_kind` that `slots` reads `kinds`;
    `slotless_at_0` names the numbers of which 0 leaves a slot out.
    """

    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""
    elementwise: ClassVar[bool] = True
    by_kind: ClassVar[bool] = False
    slotless_at_0: ClassVar[tuple[str, ...]] = ()

    lr: float = Field(1e-3, gt=0, description="highest learning rate; the schedule multiplies it")
    weight_decay: float = Field(0.0, ge=0, description="pull of parameters towards 0", json_schema_extra=OVER_TIME)
    no_decay: Literal["norm_and_bias", "none"] = Field(
        "norm_and_bias",
        description="what weight decay leaves alone: norm layers, biases, other vectors and what the model's "
        "no_weight_decay() names, or nothing as in torch.optim",
    )
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="learning rates of some parameters in multiples of lr, by module, parameter or pattern "
        "(`blocks.*.bias`), or by kind: bias, embedding, head, norm; 0 freezes",
    )

    @field_validator("lr_multipliers", mode="before")
    @classmethod
    def _nested_is_dotted(cls, raw: Any) -> Any:
        return flatten(raw) if isinstance(raw, Mapping) else raw

    def numbers(self) -> dict[str, float]:
        """The fields that are floats, by name: what may differ between the members of a pack, or from step to step."""
        fields = type(self).model_fields.items()
        return {name: getattr(self, name) for name, info in fields if info.annotation is float}

    def clock(self) -> dict[str, float]:
        """Scalars that only time moves, before the first step: `step`, how many there were."""
        return {"step": 0.0}

    def tick(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        """The clock at the next step."""
        del numbers
        return {"step": clock["step"] + 1}

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        """Fresh tensors to keep beside `parameter`; `by_kind`: which is of these `kinds` (`hpo.training.kinds`)."""
        raise NotImplementedError

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        """What `update` needs of scalars at the step the clock shows, computed in float64.

        Kept apart from `update` because it is the same for all parameters, and because bias corrections cancel in
        float32: cast the result to the parameters' type, not what it is made of.
        """
        raise NotImplementedError

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        """One parameter and its slots after a step along the gradient `g`; changes nothing in place.

        Uses methods and operators only, those of `Many` where the entry is elementwise. c: `constants`.
        """
        raise NotImplementedError

    @property
    def decouples(self) -> bool:
        """Whether weight decay shrinks parameters by lr * weight_decay instead of adding them to their gradients."""
        return False

    def decay_constants(self, numbers: Numbers) -> dict[str, Any]:
        """What `decay` needs of scalars."""
        if self.decouples:
            return {"keep": 1 - numbers["lr"] * numbers["weight_decay"]}
        return {"pull": numbers["weight_decay"]}

    def decay(self, p: Tensor, g: Tensor, c: Numbers) -> tuple[Tensor, Tensor]:
        """`p` and `g` with weight decay, for `update` to begin with; c holds `decay_constants`."""
        if self.decouples:
            return (p if _is(c["keep"], 1) else p * c["keep"]), g
        return p, (g if _is(c["pull"], 0) else g + p * c["pull"])

    def move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        numbers: Numbers,
        clock: Numbers,
    ) -> None:
        """Step many parameters and their slots in place, `slots[name][i]` beside `parameters[i]`; without autograd."""
        c = self.constants(numbers, clock)
        if self.elementwise:
            kept: Any = {name: Many(tensors) for name, tensors in slots.items()}
            moved: Any = Many(parameters)
            moved, kept = self.update(moved, Many(gradients), kept, c)  # type: ignore[arg-type]
            torch._foreach_copy_(parameters, moved.tensors)
            for name, new in kept.items():
                slots[name][:] = new.tensors
            return
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            moved, kept = self.update(p, g, {name: tensors[i] for name, tensors in slots.items()}, c)
            p.copy_(moved)
            for name, new in kept.items():
                slots[name][i] = new

    def terms(self, net: nn.Module) -> dict[str, Terms]:
        """On what terms each parameter of `net` that requires gradients moves, by its name.

        Raises UserError for a name in `lr_multipliers` that means none of the model's parameters.
        """
        kinds = parameter_kinds(net) if self.by_kind else {}
        factor = factors(net, self.lr_multipliers, "optimizer.lr_multipliers")
        spared = undecayed(net) if self.no_decay == "norm_and_bias" else frozenset()
        moved = (name for name, parameter in net.named_parameters() if parameter.requires_grad)
        return {name: Terms(factor[name], name not in spared, kinds.get(name, frozenset())) for name in moved}

    def torch_groups(self, net: nn.Module) -> list[dict[str, Any]]:
        """The terms as parameter groups of a torch.optim optimizer, for `TorchRule`. Raises what `terms` raises."""
        named = dict(net.named_parameters())
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, terms in self.terms(net).items():
            own = {"factor": terms.factor, "decays": terms.decays, "weight_decay": self.weight_decay * terms.decays}
            groups.setdefault((terms.factor, terms.decays), {"params": [], **own})["params"].append(named[name])
        return list(groups.values())

    def build(self, net: nn.Module) -> Rule:
        """A fresh rule over the parameters of `net` that require gradients. Raises what `terms` raises."""
        named = dict(net.named_parameters())
        return Solo(self, named, self.terms(net))


class EitherDecay(Optimizer):
    """Base of optimizers whose weight decay is in use both ways."""

    decoupled: bool = Field(
        False,
        description="weight decay shrinks parameters by lr * weight_decay, as in AdamW, instead of adding to gradients",
    )

    @property
    def decouples(self) -> bool:
        return self.decoupled


def _is(value: Any, number: float) -> bool:
    """Whether `value` is known to be `number`; a tensor never is."""
    return isinstance(value, float) and value == number


optimizers: Registry[Optimizer] = Registry("optimizer", "hpo.training.optimizers")
