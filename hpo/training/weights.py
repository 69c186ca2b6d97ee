"""A trained network as one file: safetensors, which can run no code, with the model's section of the config inside.

Where this process has a key the file is encrypted (`hpo.encryption`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from hpo.encryption import HEAD, current, encrypting, is_encrypted, opened
from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import Task
from hpo.training.config import TrainingConfig
from hpo.training.tracked import TrackedConfig
from hpo.whole_file import whole_file

_MODEL = "hpo.model"
_BLOCK = 2**20  # bytes copied at once


def model_section(config: TrainingConfig) -> dict[str, Any]:
    """What `config.model` says, as plain data."""
    section: dict[str, Any] = config.model_dump(mode="json")["model"]
    return section


def save_weights(net: nn.Module, model: Mapping[str, Any], path: Path) -> None:
    """Write weights and buffers of `net`, and the section `model` that it was built from.

    Raises OSError, and UserError for a key that cannot be used.
    """
    from safetensors.torch import save, save_model

    metadata = {_MODEL: json.dumps(dict(model))}
    if current() is None:
        save_model(net, str(path), metadata)
        return
    content = save(_each_once(net), metadata)  # save_model takes a path only, and no disk may see this
    with whole_file(path, "--output") as file, encrypting(file) as stream:
        stream.write(content)


def _each_once(net: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers of `net`, a tensor with several names under its first, as `load_model` takes them."""
    found: dict[tuple[Any, ...], tuple[str, Tensor]] = {}
    for name, tensor in net.state_dict().items():
        place = tensor.data_ptr() or name, tensor.shape, tensor.stride()
        found.setdefault(place, (name, tensor.contiguous()))
    return dict(found.values())


def load_network(path: Path, task: Task, key: str) -> nn.Module:
    """The network that `save_weights` wrote, built for `task`, on the CPU.

    Raises UserError, beginning with `key`, for a file of another kind, one that is encrypted and cannot be opened, or a
    network that does not fit.
    """
    with _readable(path, key) as plain_path:
        return _load(plain_path, path, task, key)


def _load(plain_path: str, path: Path, task: Task, key: str) -> nn.Module:
    """The network in `plain_path`, which stands for `path` in sentences."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    try:
        with safe_open(plain_path, "pt") as file:
            written = (file.metadata() or {}).get(_MODEL)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, key, error) from None
    if written is None:
        raise UserError(
            f"{key}: {path} does not say which model it is of; it must be written by `hpo train`",
            hint="for other weights write a function that loads them: my_teacher.py:make_teacher",
        )
    net = build_model(json.loads(written), task)
    try:
        load_model(net, plain_path)
    except RuntimeError as error:
        raise UserError(
            f"{key}: {path} holds other weights than its model has: {' '.join(str(error).split())}"
        ) from None
    return net


@contextmanager
def _readable(path: Path, key: str) -> Iterator[str]:
    """A path at which the file lies unencrypted within the block: its own, or one in memory."""
    try:
        with path.open("rb") as file:
            encrypted = is_encrypted(file.read(HEAD))
    except OSError as error:
        raise _unreadable(path, key, error) from None
    if not encrypted:
        yield str(path)
        return
    with _in_memory() as (plain, plain_path):
        with path.open("rb") as file:
            shutil.copyfileobj(opened(file, f"{key}: {path}"), plain, _BLOCK)
        plain.flush()
        yield plain_path


def _unreadable(path: Path, key: str, error: Exception) -> UserError:
    return UserError(f"{key}: {path} cannot be read as safetensors: {error}")


@contextmanager
def _in_memory() -> Iterator[tuple[BinaryIO, str]]:
    """A file in memory, for safetensors, which takes nothing but paths: no disk sees what it holds. And its path."""
    with os.fdopen(os.memfd_create("hpo"), "w+b") as file:
        yield file, f"/proc/self/fd/{file.fileno()}"


def build_model(section: Mapping[str, Any], task: Task) -> nn.Module:
    """A network by a model's section, with weights drawn anywhere; torch's global generator is left as it was."""
    with torch.random.fork_rng():
        if callable(task.model):
            return task.model(TrackedConfig(dict(section)))
        return check(TrainingConfig, {"model": dict(section)}).model.build_for(task)
