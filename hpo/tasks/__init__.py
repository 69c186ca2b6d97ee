"""What is trained: tasks (data splits, model, loss, metrics) and models, one registry over each folder here.

May import torch and data libraries inside functions only; knows nothing of training, Optuna, Ray or SQL.
"""

from hpo.tasks.registries import ModelEntry, TaskEntry, models, tasks
from hpo.tasks.task import Task

__all__ = ["ModelEntry", "Task", "TaskEntry", "models", "tasks"]
