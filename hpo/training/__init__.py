"""How a configuration is trained: the config, the loop, checkpoints, and a folder per registry.

Knows PyTorch and nothing of Optuna, Ray or SQL; torch itself loads only when something is trained.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hpo.training.checkpoint import CheckpointFile
from hpo.training.config import OwnModelConfig, TrainingConfig, lr_curve
from hpo.training.paths import Path, Paths, as_paths, paths, with_paths
from hpo.training.reported import metric_names
from hpo.training.tracked import MissingKey, TrackedConfig
from hpo.training.trial import Diverged, Progress, Stopped, Trial, Verdict

if TYPE_CHECKING:
    from hpo.training.evaluation import evaluate
    from hpo.training.loop import Trained, train_task

# these import torch, so they load when first asked for
_HOMES = {
    "Trained": "hpo.training.loop",
    "evaluate": "hpo.training.evaluation",
    "train_task": "hpo.training.loop",
}

__all__ = [
    "CheckpointFile",
    "Diverged",
    "MissingKey",
    "OwnModelConfig",
    "Path",
    "Paths",
    "Progress",
    "Stopped",
    "TrackedConfig",
    "Trained",
    "TrainingConfig",
    "Trial",
    "Verdict",
    "as_paths",
    "evaluate",
    "lr_curve",
    "metric_names",
    "paths",
    "train_task",
    "with_paths",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hpo.training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
