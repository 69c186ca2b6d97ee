"""A trained network as one file: safetensors, which can run no code, with the model's section of the config inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import Task
from hpo.training.config import TrainingConfig
from hpo.training.tracked import TrackedConfig

_MODEL = "hpo.model"


def model_section(config: TrainingConfig) -> dict[str, Any]:
    """What `config.model` says, as plain data."""
    section: dict[str, Any] = config.model_dump(mode="json")["model"]
    return section


def save_weights(net: nn.Module, model: Mapping[str, Any], path: Path) -> None:
    """Write weights and buffers of `net`, and the section `model` that it was built from. Raises OSError."""
    from safetensors.torch import save_model

    save_model(net, str(path), {_MODEL: json.dumps(dict(model))})


def load_network(path: Path, task: Task, key: str) -> nn.Module:
    """The network that `save_weights` wrote, built for `task`, on the CPU.

    Raises UserError, beginning with `key`, for a file of another kind, or a network that does not fit.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    try:
        with safe_open(str(path), "pt") as file:
            written = (file.metadata() or {}).get(_MODEL)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{key}: {path} cannot be read as safetensors: {error}") from None
    if written is None:
        raise UserError(
            f"{key}: {path} does not say which model it is of; it must be written by `hpo train`",
            hint="for other weights write a function that loads them: my_teacher.py:make_teacher",
        )
    net = build_model(json.loads(written), task)
    try:
        load_model(net, str(path))
    except RuntimeError as error:
        raise UserError(
            f"{key}: {path} holds other weights than its model has: {' '.join(str(error).split())}"
        ) from None
    return net


def build_model(section: Mapping[str, Any], task: Task) -> nn.Module:
    """A network by a model's section, with weights drawn anywhere; torch's global generator is left as it was."""
    with torch.random.fork_rng():
        if task.model is not None:
            net: nn.Module = task.model(TrackedConfig(dict(section)))
            return net
        return check(TrainingConfig, {"model": dict(section)}).model.build(task.input_shape, task.outputs)
