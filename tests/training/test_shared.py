"""A training by two workers over gloo is the training of one process with the same batches, but for rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.tasks import Task
from hpo.testing.strengths import image_task, small_task
from hpo.testing.teams import trained_alone, trained_by, workers
from hpo.training import TrainingConfig, Verdict, with_paths
from hpo.training.regularizers import regularizers
from tests.training.test_regularizers import EXAMPLES

SGD = {"optimizer.name": "sgd", "optimizer.lr": 0.05, "optimizer.momentum": 0.9}


def config_of(make: Any, paths: Mapping[str, Any]) -> TrainingConfig:
    # 80 = 2 * 33 + 14: the halves of a batch are unequal
    return with_paths(TrainingConfig.for_task(make())(epochs=2, batch_size=33), {**SGD, **paths})


def check_same(config: TrainingConfig, make: Any, tolerance: float = 2e-4) -> None:
    (reports, state), (_, other) = workers().run(trained_by, config, make)
    alone, weights = trained_alone(config, make)
    for step, (report, solo) in enumerate(zip(reports, alone, strict=True), 1):
        for name, value in solo.items():
            assert report[name] == pytest.approx(value, rel=tolerance, abs=1e-6), f"{name} at {step}"
    for name, value in weights.items():
        close = {"rtol": tolerance, "atol": tolerance / 10}
        torch.testing.assert_close(state[name], value, **close, msg=lambda m: f"{name}: {m}")  # noqa: B023
        assert torch.equal(state[name], other[name]), f"{name} differs between the workers"


@pytest.mark.parametrize("name", list(regularizers))
def test_every_regularizer(name: str) -> None:
    entry = regularizers.parse({"name": name, **EXAMPLES.get(name, {})})
    fields = {key: value for key, value in entry.model_dump().items() if key != "name"}
    paths = {f"regularization.{name}.{key}": value for key, value in fields.items()}
    check_same(config_of(image_task, paths), image_task)


@pytest.mark.parametrize(
    "paths",
    [
        {},
        {"batch_size": 79},  # the last batch is one example: one of the workers has none
        {"accumulate": 3},
        {"loss.class_weights": [1.0, 5.0, 0.2]},
        {"loss.name": "focal", "loss.class_weights": "balanced"},
        {"schedule.name": "reduce_on_plateau", "schedule.patience": 1},
        {"regularization.sam": 0.1, "regularization.dropout": 0.3, "regularization.gradient_clipping": 0.5},
        {"augmentation.flip": 0.5, "augmentation.crop": 1},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_every_way_to_compute(paths: dict[str, Any]) -> None:
    check_same(config_of(image_task, paths), image_task, 2e-2 if "precision" in paths else 2e-4)


def test_a_built_in_model_under_adam() -> None:
    paths = {"model.name": "mlp", "model.width": 8, "regularization.dropout": 0.2}
    config = with_paths(TrainingConfig.for_task(small_task())(epochs=2, batch_size=33), paths)
    check_same(config, small_task, 1e-3)


class Unused(nn.Module):
    """Attention over the rows of an image, with dropout inside it, beside a layer that no score hangs on."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)
        self.unused, self.head = nn.Linear(2, 2), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0]
        scores: torch.Tensor = self.head(self.attention(x, x, x)[0].mean(1))
        return scores


def unused_task() -> Task:
    return replace(image_task(), model=lambda config: Unused())


def test_attention_and_weights_that_nothing_hangs_on() -> None:
    check_same(config_of(unused_task, {"regularization.sam": 0.05}), unused_task)


def test_a_stop_is_one_of_all_workers() -> None:
    config = config_of(image_task, {})
    for reports, _ in workers().run(trained_by, config, image_task, {2: Verdict.PRUNED}):
        assert len(reports) == 2


def test_divergence_is_one_of_all_workers() -> None:
    config = config_of(image_task, {"largest_loss": 1e-6})
    assert [state for _, state in workers().run(trained_by, config, image_task)] == [None, None]


@pytest.mark.parametrize("size", [1, 2])
def test_what_two_workers_saved_goes_on_with_two_or_with_one(size: int, tmp_path: Path) -> None:
    config, store = config_of(image_task, {"regularization.ema": 0.9}), tmp_path / "0.pt"
    workers().run(trained_by, config, image_task, {1: Verdict.PUT_BACK}, store)
    if size == 1:
        from hpo.testing.trials import Answers
        from hpo.training import CheckpointFile, train_task

        run = train_task(config, image_task(), Answers().trial(CheckpointFile(store)), "cpu")
        reports = [progress.metrics for progress in run.history]
    else:
        (reports, _), _ = workers().run(trained_by, config, image_task, {}, store)
    alone, _ = trained_alone(config, image_task)
    assert len(reports) == len(alone) == 2
    for report, solo in zip(reports, alone, strict=True):
        assert report["train_loss"] == pytest.approx(solo["train_loss"], rel=2e-4)
