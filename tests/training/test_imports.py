"""What may be loaded when: validation without torch, training without what it does not need."""

from __future__ import annotations

import subprocess
import sys

VALIDATES = """
import sys
from hpo.tasks import models, tasks
from hpo.training import TrainingConfig, Trial, TrackedConfig, CheckpointFile, lr_curve, metric_names, paths, with_paths
from hpo.training.metrics import metrics
for registry in (models, tasks, metrics):
    assert registry.describe()
config = with_paths(TrainingConfig(), {"schedule": "cosine", "regularization.dropout": 0.1})
assert len(paths()) > 20
TrainingConfig.model_json_schema()
lr_curve(config, 100)
task = tasks.parse("digits").make()
assert TrainingConfig.for_task(task) is TrainingConfig
assert "val_accuracy" in metric_names(task)
slow = {"torch", "sklearn", "scipy", "torchmetrics", "pandas", "optuna", "ray", "sqlalchemy"} & set(sys.modules)
assert not slow, slow
"""

TRAINS = """
import sys
from hpo.tasks import tasks
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task, with_paths
from hpo.training.optimizers import optimizers
config = with_paths(TrainingConfig(), {
    "epochs": 1, "schedule": "cosine", "initializer": "orthogonal", "precision": "bfloat16",
    "regularization": {"dropout": 0.1, "l1": 0.1, "gradient_clipping": 1.0, "label_smoothing": 0.1},
})
for optimizer in optimizers:
    train_task(with_paths(config, {"optimizer": optimizer}), tasks.parse("digits").make(), Answers().trial(), "cpu")
slow = {"torch._dynamo", "torchmetrics", "sklearn", "scipy.signal", "pandas", "optuna", "ray", "sqlalchemy"}
slow &= set(sys.modules)
assert not slow, slow
"""


def test_a_config_is_validated_and_listed_without_torch() -> None:
    subprocess.run([sys.executable, "-c", VALIDATES], check=True)


def test_training_loads_torch_and_none_of_the_slow_rest() -> None:
    subprocess.run([sys.executable, "-c", TRAINS], check=True)
