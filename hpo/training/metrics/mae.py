"""The metric `mae`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hpo.training.metrics import Metric, metrics
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor


@metrics("mae")
class MAE(Metric):
    """Mean absolute error."""

    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    classes: ClassVar[bool] = False

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        return (alike(scores_NC, target_N) - target_N).abs().mean()
