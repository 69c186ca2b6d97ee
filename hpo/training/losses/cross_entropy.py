"""The loss `cross_entropy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.lazy import torch
from hpo.training.class_weights import ClassWeighted
from hpo.training.losses import losses
from hpo.training.scores import class_scores

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("cross_entropy")
class CrossEntropy(ClassWeighted):
    """Negative log likelihood of the true class under a softmax of the scores.

    With class weights the mean over a batch is weighted too, as torch's is.
    """

    classes: ClassVar[bool | None] = True
    smooths: ClassVar[bool] = True

    def weight(self, target: Tensor) -> Tensor | float:
        if target.is_floating_point() or self.class_weights == "equal":
            return super().weight(target)
        assert isinstance(self.class_weights, tuple), "balanced weights are written out by `fitted`"
        return torch.tensor(self.class_weights, device=target.device)[target].sum()

    def unprivate(self) -> tuple[tuple[str, ...], str] | None:
        if self.class_weights == "equal":
            return None
        return ("class_weights",), "the weight of an example hangs on who else is in its batch"

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        scores, function = class_scores(scores), torch.nn.functional.cross_entropy
        weight_C = self.weight_of_classes(scores)
        if isinstance(smoothing, float):
            return function(scores, target, weight_C, label_smoothing=smoothing)
        log_shares = -scores.log_softmax(1)
        if weight_C is None and not target.is_floating_point():  # one softmax for both parts
            true = torch.nn.functional.nll_loss(-log_shares, target)
            return (1 - smoothing) * true + smoothing * log_shares.mean()
        if weight_C is None:
            even = log_shares.mean()
        else:
            spread = (log_shares.movedim(1, -1) * weight_C).mean(-1)
            even = spread.mean() if target.is_floating_point() else spread.sum() / weight_C[target].sum()
        return (1 - smoothing) * function(scores, target, weight_C) + smoothing * even
