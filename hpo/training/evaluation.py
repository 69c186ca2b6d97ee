"""A task's data on a device, and what a network scores on one split of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.training.metrics import Metric, metrics

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.losses import Loss, LossFunction

CHUNK = 4096  # examples that are scored at once; fixed, because it changes the last bits


@dataclass(frozen=True)
class Data:
    """The tensors of one task on one device, and its metrics."""

    splits: dict[str, tuple[Tensor, Tensor]]
    metrics: dict[str, Metric]


_cache: WeakKeyDictionary[Task, dict[torch.device, Data]] = WeakKeyDictionary()


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """`device`, or CUDA where there is one, or the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def on_device(task: Task, device: torch.device) -> Data:
    """The task's tensors, copied once for all trials of this process: floats as float32, classes as int64."""
    held = _cache.setdefault(task, {})
    if device not in held:
        splits = {name: (_tensor(x, device), _tensor(y, device)) for name, (x, y) in task.splits()}
        held[device] = Data(splits, task_metrics(task))
    return held[device]


def _tensor(values: object, device: torch.device) -> Tensor:
    if isinstance(values, np.ndarray):
        values = np.require(values, requirements=["C", "W"])  # copies only what torch could not share
    tensor = torch.as_tensor(values)
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else torch.int64).contiguous()


def task_metrics(task: Task) -> dict[str, Metric]:
    """The task's metrics by name. Raises UserError for an unknown one, one given twice or one of other targets."""
    found: dict[str, Metric] = {}
    for raw in task.metrics:
        try:
            metric = metrics.parse(raw)
        except PydanticCustomError as error:
            raise UserError(f"task.metrics: {error.message()}") from None
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
    if loss.classes != task.has_classes:
        raise UserError(f"loss: {loss.name} needs {_targets(loss.classes)}, the task has others")


def _targets(classes: bool) -> str:
    return "integer classes as targets" if classes else "float targets"


@torch.inference_mode()
def scores_of(net: nn.Module, x_N: Tensor) -> Tensor:
    """The network's scores of all examples, in evaluation mode; the mode is put back to training."""
    net.eval()
    chunks = [net(x_B) for x_B in torch.split(x_N, CHUNK)]
    net.train()
    return (chunks[0] if len(chunks) == 1 else torch.cat(chunks)).float()


def measure(net: nn.Module, data: Data, split: str, loss: LossFunction) -> dict[str, Tensor]:
    """Loss and metrics of one split as 0-D tensors on the device: `val_loss`, `val_accuracy` ..."""
    x_N, y_N = data.splits[split]
    scores = scores_of(net, x_N)
    own = {f"{split}_{name}": metric.value(scores, y_N) for name, metric in data.metrics.items()}
    return {f"{split}_loss": loss(scores, y_N), **own}


def evaluate(
    net: nn.Module,
    config: TrainingConfig,
    task: Task,
    split: str = "test",
    device: str | torch.device | None = None,
) -> dict[str, float]:
    """Loss and metrics of a trained network on one split of the task, without any regularization.

    Raises UserError when the task has no such split.
    """
    place = pick_device(device)
    data = on_device(task, place)
    if split not in data.splits:
        raise UserError(f"task: has no {split} split (it has: {', '.join(data.splits)})")
    found = measure(net.to(place), data, split, config.loss.build())
    return {name: float(value) for name, value in found.items()}
