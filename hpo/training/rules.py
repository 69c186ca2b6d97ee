"""Update rules: the state of an optimizer and its one step, as fused kernels.

torch.optim computes the same (the tests compare), but importing what it needs (torch._dynamo) takes 1.5 s in every
worker, and its bookkeeping costs a third of a small model's step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


class Rule(Protocol):
    """What the loop asks of an optimizer."""

    def step(self, lr: float) -> None:
        """Move each parameter along its `.grad`, then drop the gradients. A parameter without one stands still."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs; tensors, numbers, lists and dicts only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s values back, copied to the parameters' devices."""


class SlotRule:
    """A rule that keeps tensors beside each parameter, `slots[name][i]` beside `parameters[i]`."""

    def __init__(self, parameters: Sequence[nn.Parameter], slots: dict[str, list[Tensor]]) -> None:
        self.parameters = list(parameters)
        self.slots = slots

    def move(self, parameters: list[Any], gradients: list[Any], slots: dict[str, list[Tensor]], lr: float) -> None:
        """Update `parameters` and `slots` in place; called without autograd."""
        raise NotImplementedError

    def step(self, lr: float) -> None:
        """See Rule."""
        parameters, slots = self.parameters, self.slots
        gradients = [p.grad for p in parameters]
        if any(gradient is None for gradient in gradients):
            moving = [i for i, gradient in enumerate(gradients) if gradient is not None]
            parameters, gradients = [parameters[i] for i in moving], [gradients[i] for i in moving]
            slots = {name: [tensors[i] for i in moving] for name, tensors in slots.items()}
        if parameters:
            with torch.no_grad():
                self.move(parameters, gradients, slots, lr)
        for p in parameters:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """See Rule."""
        return dict(self.slots)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Rule."""
        for name, tensors in self.slots.items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)


class SGD(SlotRule):
    """v = momentum v + g + weight_decay p;  p = p - lr v  (Nesterov: p - lr (g + momentum v)); as torch.optim.SGD."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], momentum: float, nesterov: bool, weight_decay: float
    ) -> None:
        buffers = [torch.zeros_like(p) for p in parameters] if momentum else []
        super().__init__(parameters, {"momentum": buffers} if momentum else {})
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.kernel = torch._fused_sgd_

    def move(self, parameters: list[Any], gradients: list[Any], slots: dict[str, list[Tensor]], lr: float) -> None:
        """See SlotRule."""
        self.kernel(
            parameters,
            gradients,
            slots.get("momentum", []),
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,  # buffers begin at 0, which gives the first step torch's value
        )


class Adam(SlotRule):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980); decoupled: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        beta1: float,
        beta2: float,
        epsilon: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        # one tensor for all counts, so that counting is one kernel; each parameter has its own, as it may stand still
        self.steps_P = torch.zeros(len(parameters), device=parameters[0].device if parameters else None)
        super().__init__(
            parameters,
            {
                "mean": [torch.zeros_like(p) for p in parameters],
                "square": [torch.zeros_like(p) for p in parameters],
                "steps": list(self.steps_P.unbind()),
            },
        )
        self.options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "eps": epsilon, "weight_decay": weight_decay}
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def move(self, parameters: list[Any], gradients: list[Any], slots: dict[str, list[Tensor]], lr: float) -> None:
        """See SlotRule."""
        if slots is self.slots:
            self.steps_P += 1
        else:
            torch._foreach_add_(slots["steps"], 1)
        self.kernel(
            parameters,
            gradients,
            slots["mean"],
            slots["square"],
            [],
            slots["steps"],
            lr=lr,
            amsgrad=False,
            maximize=False,
            **self.options,
        )


class TorchRule:
    """Any `torch.optim` optimizer as a rule, for entries of plugins; its learning rate is set at each step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, lr: float) -> None:
        """See Rule."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """See Rule."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Rule."""
        self.optimizer.load_state_dict(state)
