"""The loss `binary_cross_entropy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.losses import Loss, losses
from hpo.training.scores import alike, one_logit

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from hpo.training.randomness import Number


@losses("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """Negative log likelihood of yes or no under a sigmoid of the logit, as torch's binary_cross_entropy_with_logits.

    Targets are two classes, for one logit or the difference of two scores, or floats from 0 to 1 beside as many
    logits (several labels an example).
    """

    classes: ClassVar[bool | None] = None
    smooths: ClassVar[bool] = True
    pos_weight: float = Field(1.0, gt=0, description="weight of a yes; a no weighs 1")
    _of_classes: bool = PrivateAttr(False)

    def fitted(self, target_N: Tensor, outputs: int) -> Self:
        if target_N.is_floating_point():
            return self
        if outputs > 2:
            raise UserError(f"loss: binary_cross_entropy is for two classes, the task has {outputs}")
        of_classes = self.model_copy()
        of_classes._of_classes = True  # two shares of classes look like two labels
        return of_classes

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        if not target.is_floating_point():
            logit, yes = one_logit(scores), target.to(scores.dtype)
        elif self._of_classes:
            logit, yes = one_logit(scores), target[:, 1]
        else:
            logit, yes = alike(scores, target), target
        yes = yes * (1 - smoothing) + smoothing / 2
        if isinstance(self.pos_weight, float) and self.pos_weight == 1:
            return torch.nn.functional.binary_cross_entropy_with_logits(logit, yes)
        softplus = torch.nn.functional.softplus
        return ((1 - yes) * softplus(logit) + yes * softplus(-logit) * self.pos_weight).mean()
