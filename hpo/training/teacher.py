"""A network whose scores another one learns from: found, loaded once a process, and never trained."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.loader import find, here, load, split
from hpo.tasks import Task

if TYPE_CHECKING:
    from torch import nn

KEY = "loss.teacher"
WEIGHTS = ".safetensors"


def locate(text: str, folder: Path) -> str:
    """A teacher as written in a sweep file of `folder`, with an absolute path. Raises UserError where it is not there.

    On a node without that folder it is looked for in the copy that Ray brought, the working directory.
    """
    home = folder if folder.is_dir() else Path.cwd()
    if text.endswith(WEIGHTS):
        path = (home / text).resolve()
        copy = Path.cwd() / os.path.relpath(path, folder)
        found = next((one for one in (path, copy) if one.is_file()), None)
        if found is None:
            raise UserError(f"{KEY}: no file {text!r} in {folder}")
        return str(found)
    split(text, f"{KEY}, which is no {WEIGHTS} file")
    return str(here(find(text, home, KEY), folder))


def source(text: str, folder: Path) -> tuple[Path, ...]:
    """The file that the teacher comes from; () for a module that is installed. Raises what `locate` raises."""
    located = locate(text, folder)
    path = Path(located if located.endswith(WEIGHTS) else located.rpartition(":")[0])
    return (path,) if path.is_file() else ()


def teacher(text: str, task: Task, device: torch.device) -> nn.Module:
    """The teacher `text` names, on `device`, in evaluation mode, its parameters needing no gradient.

    text: what `locate` gave. Raises UserError for one that cannot be loaded.
    """
    stamp = os.stat(text).st_mtime_ns if text.endswith(WEIGHTS) else 0
    return _loaded(text, stamp, task, device)


@lru_cache(maxsize=2)
def _loaded(text: str, stamp: int, task: Task, device: torch.device) -> nn.Module:
    """A file that was written anew has another stamp."""
    from hpo.training.weights import load_network

    del stamp
    net = load_network(Path(text), task, KEY) if text.endswith(WEIGHTS) else _made(text)
    return net.to(device).eval().requires_grad_(False)


def _made(text: str) -> nn.Module:
    reference = find(text, Path.cwd(), KEY)
    function = load(reference, KEY)
    try:
        net = function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{KEY}: {reference} raised {type(error).__name__}: {error}") from error
    if not isinstance(net, torch.nn.Module):
        raise UserError(f"{KEY}: {reference} must return a torch.nn.Module, returned {type(net).__name__}")
    return net
