"""The regularizer `gradient_clipping`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Slots

if TYPE_CHECKING:
    from torch import Tensor, nn


@regularizers("gradient_clipping")
class GradientClipping(Regularizer):
    """Scales the whole gradient down to a largest norm (Pascanu et al. 2013, arXiv:1211.5063)."""

    main: ClassVar[str] = "max_norm"
    max_norm: float = Field(0.0, ge=0, description="largest norm of all gradients together; 0 is off")
    norm: float = Field(2.0, gt=0, description="order of the norm: 2 is Euclidean, 1 the sum of absolute values")

    def fill(self, slots: Slots) -> Slots:
        before, clip = slots.gradient, torch.nn.utils.clip_grad_norm_

        def gradient(net: nn.Module, loss: Callable[[], Tensor]) -> Tensor:
            value = before(net, loss)
            clip(net.parameters(), self.max_norm, self.norm)
            return value

        return replace(slots, gradient=gradient)
