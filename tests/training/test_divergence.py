"""A training that leads nowhere ends at once."""

from __future__ import annotations

import pytest

from hpo.testing.strengths import small_task
from hpo.testing.trials import Answers
from hpo.training import Diverged, TrainingConfig, train_task, with_paths


def test_a_loss_above_the_largest_ends_a_training_and_names_both() -> None:
    task, free = small_task(), Answers()
    config = with_paths(TrainingConfig(), {"optimizer": {"name": "sgd", "lr": 5.0}, "epochs": 3})
    train_task(config, task, free.trial(), "cpu")
    first = free.seen[0].metrics["train_loss"]
    with pytest.raises(Diverged, match=r"^diverged: train_loss is [\d.]+ at step 1 \(above largest_loss: "):
        train_task(with_paths(config, {"largest_loss": first * 0.99}), task, Answers().trial(), "cpu")
    train_task(with_paths(config, {"largest_loss": first * 1.01, "epochs": 1}), task, Answers().trial(), "cpu")
