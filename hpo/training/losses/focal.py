"""The loss `focal`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.class_weights import ClassWeighted
from hpo.training.losses import losses
from hpo.training.scores import class_scores, class_shares

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from hpo.training.randomness import Number


@losses("focal")
class Focal(ClassWeighted):
    """Cross entropy that fades for examples that are right: -(1 - p)^gamma log p (Lin et al. 2017, arXiv:1708.02002).

    The mean counts every example once, as the paper does, also where classes are weighted.
    """

    classes: ClassVar[bool | None] = True
    smooths: ClassVar[bool] = True
    gamma: float = Field(2.0, ge=0, description="how fast examples fade as they get right; 0 is cross entropy")
    alpha: float | None = Field(
        None, ge=0, le=1, description="weight of class 1 of two, class 0 has 1 - alpha; for more there is class_weights"
    )

    @field_validator("alpha")
    @classmethod
    def _one_way_to_weigh(cls, alpha: float | None, info: ValidationInfo) -> float | None:
        if alpha is not None and info.data.get("class_weights") != "equal":
            raise ValueError("has the same task as class_weights; keep one")
        return alpha

    def fitted(self, target_N: Tensor, outputs: int) -> Self:
        if self.alpha is not None and outputs > 2:
            raise UserError(f"loss.alpha: is for two classes, the task has {outputs}; use loss.class_weights")
        return super().fitted(target_N, outputs)

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        log_share_BC = class_scores(scores).log_softmax(1).movedim(1, -1)
        log_share_BC = log_share_BC.reshape(-1, log_share_BC.shape[-1])
        classes, dtype = log_share_BC.shape[1], log_share_BC.dtype
        true_BC = class_shares(target if target.is_floating_point() else target.reshape(-1), classes, dtype)
        true_BC = true_BC * (1 - smoothing) + smoothing / classes
        wrong_BC = -torch.expm1(log_share_BC)
        # a power below 1 has no slope at 0
        faded_BC = wrong_BC.clamp(min=torch.finfo(dtype).eps) ** self.gamma
        loss_BC = -true_BC * faded_BC * log_share_BC
        if self.alpha is not None:
            return (loss_BC[:, 0] * (1 - self.alpha) + loss_BC[:, 1] * self.alpha).mean()
        weight_C = self.weight_of_classes(loss_BC)
        return (loss_BC if weight_C is None else loss_BC * weight_C).sum(1).mean()
