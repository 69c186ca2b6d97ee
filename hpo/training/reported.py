"""What a training of a task reports, and whether loss and metrics fit its targets; known without torch."""

from __future__ import annotations

from typing import Annotated

from hpo.errors import UserError
from hpo.schema import Frozen, check
from hpo.tasks import Task
from hpo.training.losses import Loss
from hpo.training.metrics import Metric, metrics
from hpo.training.privacy import EPSILON


class _OneMetric(Frozen):
    metrics: Annotated[Metric, metrics]


def task_metrics(task: Task) -> dict[str, Metric]:
    """The task's metrics by what they are reported as, after `val_`.

    Raises UserError for an unknown one, one given twice, or one that does not fit the targets.
    """
    found: dict[str, Metric] = {}
    for raw in task.metrics:
        metric = check(_OneMetric, {"metrics": raw}, "task").metrics
        if metric.reported in found:
            raise UserError(f"task.metrics: {metric.reported} is given twice; give one a label")
        if metric.reported == "loss":
            raise UserError("task.metrics: the label 'loss' is taken")
        if metric.classes != task.has_classes:
            raise UserError(f"task.metrics: {metric.name} needs {_targets(metric.classes)}, the task has others")
        try:
            metric.fits(task.outputs)
        except ValueError as error:
            raise UserError(f"task.metrics: {metric.name}: {error}") from None
        found[metric.reported] = metric
    return found


def metric_names(task: Task, private: bool = False) -> dict[str, str]:
    """What a training of `task` reports, each with the direction that is better: train_loss, val_loss, val_<name>.

    private: whether it trains by DP-SGD, and then epsilon too.
    """
    own = {f"val_{name}": str(metric.direction) for name, metric in task_metrics(task).items()}
    return {"train_loss": "minimize", "val_loss": "minimize", **own, **({EPSILON: "minimize"} if private else {})}


def check_loss(task: Task, loss: Loss) -> None:
    """Raises UserError when the loss does not take the task's targets."""
    if not loss.takes(task.has_classes):
        raise UserError(f"loss: {loss.name} needs {_targets(not task.has_classes)}, the task has others")


def _targets(classes: bool) -> str:
    return "integer classes as targets" if classes else "float targets"
