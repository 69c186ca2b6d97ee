"""A task's data on a device, and what a network scores on one split of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.training.metrics import Metric
from hpo.training.reported import task_metrics

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.losses import Loss

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


@torch.inference_mode()
def scores_of(net: nn.Module, x_N: Tensor) -> Tensor:
    """The network's scores of all examples, in evaluation mode; the mode is put back to training."""
    net.eval()
    chunks = [net(x_B) for x_B in torch.split(x_N, CHUNK)]
    net.train()
    return (chunks[0] if len(chunks) == 1 else torch.cat(chunks)).float()


def measure(net: nn.Module, data: Data, split: str, loss: Loss) -> dict[str, Tensor]:
    """Loss and metrics of one split as 0-D tensors on the device: `val_loss`, `val_accuracy` ..."""
    x_N, y_N = data.splits[split]
    scores = scores_of(net, x_N)
    own = {f"{split}_{name}": metric.value(scores, y_N) for name, metric in data.metrics.items()}
    return {f"{split}_loss": loss.value(scores, y_N), **own}


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
    loss = config.loss.fitted(data.splits["train"][1], task.outputs)
    found = measure(net.to(place), data, split, loss)
    return {name: float(value) for name, value in found.items()}
