"""hpo: sweeps of PyTorch training on Ray Tune, searched by Optuna, kept in SQL.

The public names below load on first use, so that importing hpo (and `hpo --help`) stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.export import export_best, train
    from hpo.runs import launch, resume
    from hpo.space import Choice, Float, Int
    from hpo.studies import load_study
    from hpo.sweep import Sweep
    from hpo.tasks import Task
    from hpo.training import TrainingConfig, lr_curve

_HOMES = {
    "Choice": "hpo.space",
    "Float": "hpo.space",
    "Int": "hpo.space",
    "Sweep": "hpo.sweep",
    "Task": "hpo.tasks",
    "TrainingConfig": "hpo.training",
    "export_best": "hpo.export",
    "launch": "hpo.runs",
    "load_study": "hpo.studies",
    "lr_curve": "hpo.training",
    "resume": "hpo.runs",
    "train": "hpo.export",
}

__version__ = "0.1.0"
__all__ = [
    "Choice",
    "Float",
    "Int",
    "Sweep",
    "Task",
    "TrainingConfig",
    "export_best",
    "launch",
    "load_study",
    "lr_curve",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
