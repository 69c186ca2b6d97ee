"""Number formats of a training: mixed precision, the scaling that float16 needs, TensorFloat-32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from hpo.training.slots import Gradients, Weights

if TYPE_CHECKING:
    from hpo.training.randomness import Number
    from hpo.training.rules import Rule


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of a forward pass: products in `precision`, weights and what needs the range in float32."""
    dtype: torch.dtype = getattr(torch, precision)
    return nullcontext if dtype is torch.float32 else partial(torch.autocast, device.type, dtype=dtype)


@contextmanager
def tensor_float_32(on: bool, device: torch.device) -> Iterator[None]:
    """Whether float32 products and convolutions on CUDA may round their inputs to 10 bits; put back afterwards."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


class Scaler(Protocol):
    """Keeps small gradients from becoming 0, and steps the optimizer."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to `.grad`, as they are held until `unscale`."""

    def unscale(self, weights: Weights) -> None:
        """Make the `.grad` of all weights what it is."""

    def step(self, optimizer: Rule, gradients: Gradients, numbers: Mapping[str, Number]) -> None:
        """One step of the optimizer, or none where a gradient of this step overflowed."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s values back."""


class NoScaler:
    """Off: for formats with the range of float32."""

    def backward(self, loss: Tensor) -> None:
        """See Scaler."""
        loss.backward()  # type: ignore[no-untyped-call]

    def unscale(self, weights: Weights) -> None:
        """They are what they are."""

    def step(self, optimizer: Rule, gradients: Gradients, numbers: Mapping[str, Number]) -> None:
        """See Scaler."""
        optimizer.step(gradients, numbers)

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class _Pass:
    """What torch's scaler takes for an optimizer: one backward pass of a step, which may have several (SAM)."""

    def __init__(self, weights: Weights) -> None:
        self.param_groups = [{"params": list(weights.values())}]
        self.finite = False

    def step(self) -> None:
        """Called unless a gradient overflowed."""
        self.finite = True


class AmpScaler:
    """torch.amp.GradScaler for float16: losses times a factor, found by trying, under which no gradient overflows.

    It looks at each step's gradients, so the host waits for the device once a step. A step whose gradients overflow
    moves nothing and halves the factor; the first ones of a training often do.
    """

    def __init__(self, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type)
        self.passes: list[_Pass] = []

    def backward(self, loss: Tensor) -> None:
        """See Scaler."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, weights: Weights) -> None:
        """See Scaler."""
        self.passes.append(_Pass(weights))
        self.scaler.unscale_(self.passes[-1])  # type: ignore[arg-type]

    def step(self, optimizer: Rule, gradients: Gradients, numbers: Mapping[str, Number]) -> None:
        """See Scaler."""
        for one in self.passes:
            self.scaler.step(one)  # type: ignore[arg-type]
        if all(one.finite for one in self.passes):
            optimizer.step(gradients, numbers)
        self.scaler.update()
        self.passes.clear()

    def state_dict(self) -> dict[str, Any]:
        """See Scaler."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Scaler."""
        self.scaler.load_state_dict(state)


def scaler_for(precision: str, device: torch.device) -> Scaler:
    """The scaler that a format needs."""
    return AmpScaler(device) if precision == "float16" else NoScaler()
