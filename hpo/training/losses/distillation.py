"""The loss `distillation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.class_weights import ClassWeighted
from hpo.training.losses import TrainingLoss, losses
from hpo.training.losses.cross_entropy import CrossEntropy
from hpo.training.scores import class_scores

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from hpo.tasks import Task
    from hpo.training.randomness import Number


@losses("distillation")
class Distillation(ClassWeighted):
    """Cross entropy, and closeness to the shares that a saved teacher gives the same inputs (Hinton et al. 2015).

    (1 - alpha) * cross entropy + alpha * T² * KL(teacher || student), both shares at temperature T (arXiv:1503.02531).
    The teacher sees what the student sees, augmented and mixed (Beyer et al. 2022, arXiv:2106.05237). What is reported
    of a split is the cross entropy alone.
    """

    classes: ClassVar[bool | None] = True
    smooths: ClassVar[bool] = True
    packable: ClassVar[bool] = False
    reason: ClassVar[str] = "its teacher is a network of any kind that runs beside the member"
    teacher: str = Field(
        description="weights that `hpo train -o` wrote, as in teacher.safetensors, or a function that returns a "
        "network, as in my_teacher.py:make_teacher",
        examples=["teacher.safetensors"],
    )
    alpha: float = Field(0.5, ge=0, le=1, description="share of the teacher in the loss")
    temperature: float = Field(2.0, gt=0, description="scores are divided by it; above 1 small shares count more")

    def unprivate(self) -> tuple[tuple[str, ...], str] | None:
        return (), "what its teacher knows of the training examples is not counted"

    def files(self, folder: Path) -> tuple[Path, ...]:
        from hpo.training.teacher import source

        return source(self.teacher, folder)

    def placed(self, folder: Path) -> Self:
        from hpo.training.teacher import locate

        return self.model_copy(update={"teacher": locate(self.teacher, folder)})

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        return CrossEntropy(class_weights=self.class_weights).value(scores, target, smoothing)

    def training(self, task: Task, device: torch.device) -> TrainingLoss:
        from hpo.training.teacher import teacher

        net = teacher(self.teacher, task, device)

        def loss(scores: Tensor, target: Tensor, inputs: Tensor, smoothing: Number) -> Tensor:
            with torch.no_grad():
                taught = class_scores(net(inputs))
            scores = class_scores(scores)
            if taught.shape != scores.shape:
                raise UserError(
                    f"loss.teacher: gives {taught.shape[1]} scores an example, the model gives {scores.shape[1]}"
                )
            near = (scores / self.temperature).log_softmax(1)
            wanted = (taught / self.temperature).log_softmax(1)
            gap = torch.nn.functional.kl_div(near, wanted, log_target=True, reduction="batchmean")
            return (1 - self.alpha) * self.value(scores, target, smoothing) + self.alpha * self.temperature**2 * gap

        return loss
