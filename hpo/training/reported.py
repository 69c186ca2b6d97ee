"""What a training of a task reports, and whether loss and metrics fit its targets; known without torch."""

from __future__ import annotations

from typing import Annotated

from hpo.errors import UserError
from hpo.schema import Frozen, check
from hpo.tasks import Task
from hpo.training.losses import Loss
from hpo.training.metrics import Metric, metrics


class _OneMetric(Frozen):
    metrics: Annotated[Metric, metrics]


def task_metrics(task: Task) -> dict[str, Metric]:
    """The task's metrics by name. Raises UserError for an unknown one, one given twice or one of other targets."""
    found: dict[str, Metric] = {}
    for raw in task.metrics:
        metric = check(_OneMetric, {"metrics": raw}, "task").metrics
        if metric.name in found:
            raise UserError(f"task.metrics: {metric.name} is given twice")
        if metric.classes != task.has_classes:
            raise UserError(f"task.metrics: {metric.name} needs {_targets(metric.classes)}, the task has others")
        found[metric.name] = metric
    return found


def metric_names(task: Task) -> dict[str, str]:
    """What a training of `task` reports, each with the direction that is better: train_loss, val_loss, val_<name>."""
    own = {f"val_{name}": str(metric.direction) for name, metric in task_metrics(task).items()}
    return {"train_loss": "minimize", "val_loss": "minimize", **own}


def check_loss(task: Task, loss: Loss) -> None:
    """Raises UserError when the loss does not take the task's targets."""
    if not loss.takes(task.has_classes):
        raise UserError(f"loss: {loss.name} needs {_targets(not task.has_classes)}, the task has others")


def _targets(classes: bool) -> str:
    return "integer classes as targets" if classes else "float targets"
