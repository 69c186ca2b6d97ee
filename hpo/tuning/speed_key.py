"""Under which key it is remembered what a pack gains: the same text where the same would be measured."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.function import Packing


def speed_key(packing: Packing, config: TrainingConfig) -> str:
    """A digest of what a step computes, then what computes it, to be read: device, torch, threads.

    What a step computes: what members agree on (batch size, precision, optimizer ...), the network's modules and
    shapes, since a user's own model need not be told by its options, and the shape of an example.
    Raises what building the network raises.
    """
    import torch

    net = _network(packing, config)
    x_N, y_N = packing.task.train
    step = [
        packing.shape(config).agreed,
        [type(module).__qualname__ for module in net.modules()],
        {name: _kind(tensor) for name, tensor in net.state_dict().items()},
        [_kind(x_N[:1]), _kind(y_N[:1])],
    ]
    digest = hashlib.sha256(json.dumps(step, sort_keys=True).encode()).hexdigest()
    threads = torch.get_num_threads()
    return f"{digest}, {_device(packing.device)[:128]}, torch {torch.__version__}, threads: {threads}"


def _network(packing: Packing, config: TrainingConfig) -> Any:
    import torch

    from hpo.training.loop import build
    from hpo.training.randomness import seeded

    cpu = torch.device("cpu")
    with seeded(config.seed, cpu) as random:
        random.start("weights")
        return build(config, packing.task, cpu)[0]


def _kind(tensor: Any) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}"


def _device(device: str) -> str:
    """What a person calls the processor."""
    import torch

    if device != "cpu":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
