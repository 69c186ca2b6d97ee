"""Every metric against its suite and torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional as regression
import torchmetrics.functional.classification as f
from sklearn.metrics import average_precision_score, roc_auc_score

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.testing.entries import example
from hpo.testing.metrics import MetricSuite, Original
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, metric_names, train_task, with_paths
from hpo.training.metrics import Metric, metrics

AVERAGED: dict[str, Any] = {
    "accuracy": f.multiclass_accuracy,
    "precision": f.multiclass_precision,
    "recall": f.multiclass_recall,
    "f1": f.multiclass_f1_score,
}
RANKED: dict[str, Any] = {"roc_auc": f.multiclass_auroc, "average_precision": f.multiclass_average_precision}


def shares(function: Any, **options: Any) -> Original:
    """In float64, as shares that are equal are not always so in float32."""
    return lambda scores, targets: function(scores.double().softmax(1), targets, 6, **options).float()


def first_of_equals(k: int) -> Original:
    return lambda s, y: f.multiclass_accuracy(s - 1e-4 * torch.arange(6), y, 6, average="micro", top_k=k)


CASES: list[tuple[dict[str, Any], Original | None]] = [
    *(
        ({"name": name, "average": average}, shares(function, average=average))
        for name, function in AVERAGED.items()
        for average in ("micro", "macro", "weighted")
    ),
    *(
        ({"name": name, "average": average}, shares(function, average=average))
        for name, function in RANKED.items()
        for average in ("macro", "weighted")
    ),
    *(({"name": "top_k", "k": k}, first_of_equals(k)) for k in (1, 2, 5)),
    *(
        (
            {"name": "calibration_error", "norm": norm, "bins": 9},
            shares(f.multiclass_calibration_error, norm=norm, n_bins=9),
        )
        for norm in ("l1", "l2", "max")
    ),
    ({"name": "mae"}, regression.mean_absolute_error),
    ({"name": "rmse"}, lambda s, y: regression.mean_squared_error(s, y, squared=False)),
    ({"name": "r2"}, regression.r2_score),
]
known = {fields["name"] for fields, _ in CASES}
CASES += [({"name": name}, None) for name in metrics if name not in known]


class TestMetrics(MetricSuite):
    @pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case[0].values())))
    def case(self, request: pytest.FixtureRequest) -> tuple[dict[str, Any], Original | None]:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def metric(self, case: tuple[dict[str, Any], Original | None]) -> Metric:
        return example(metrics, **case[0])  # type: ignore[no-any-return]

    @pytest.fixture
    def reference(self, case: tuple[dict[str, Any], Original | None]) -> Original | None:
        return case[1]


def test_the_usual_averages_are_the_defaults() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = torch.tensor([0, 0, 0, 1])
    assert metrics.parse("accuracy").value(scores, targets).item() == 0.75
    assert metrics.parse("recall").value(scores, targets).item() == 0.5
    assert metrics.parse("precision").value(scores, targets).item() == 0.75 / 2
    assert metrics.parse("f1").value(scores, targets).item() == pytest.approx((2 * 0.75 / 1.75 + 0) / 2)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
@pytest.mark.parametrize("name", list(AVERAGED))
def test_classes_that_nobody_saw_are_left_out_as_torchmetrics_does(name: str, average: str) -> None:
    torch.manual_seed(0)
    scores, targets = torch.randn(50, 6), torch.randint(0, 4, (50,))
    scores[:, 5] = -9  # never there and never said; class 4 is said and not there
    found = metrics.parse({"name": name, "average": average}).value(scores, targets)
    assert found.item() == AVERAGED[name](scores, targets, 6, average=average).item()


@pytest.mark.parametrize(
    ("name", "scored"), [("roc_auc", roc_auc_score), ("average_precision", average_precision_score)]
)
def test_ranks_leave_out_classes_without_which_they_are_not_defined(name: str, scored: Any) -> None:
    torch.manual_seed(0)
    scores, targets = torch.randn(50, 4).mul(3).round(), torch.randint(0, 3, (50,))
    own = [scored((targets == c).numpy(), scores.double().softmax(1)[:, c].numpy()) for c in range(3)]
    count = torch.bincount(targets, minlength=3).numpy()
    assert metrics.parse(name).value(scores, targets).item() == pytest.approx(np.mean(own), abs=1e-6)
    weighted = metrics.parse({"name": name, "average": "weighted"}).value(scores, targets).item()
    assert weighted == pytest.approx(np.average(own, weights=count), abs=1e-6)


def test_one_class_alone_has_no_roc() -> None:
    assert metrics.parse("roc_auc").value(torch.randn(9, 3), torch.ones(9).long()).isnan()


@pytest.mark.parametrize("name", [*AVERAGED, *RANKED])
def test_binary_is_the_second_of_two_classes(name: str) -> None:
    torch.manual_seed(0)
    logit, targets = torch.randn(80), torch.randint(0, 2, (80,))
    metric = metrics.parse({"name": name, "average": "binary"})
    one = {"accuracy": f.binary_recall, "roc_auc": f.binary_auroc, "average_precision": f.binary_average_precision}
    alike = one.get(name) or getattr(f, AVERAGED[name].__name__.replace("multiclass", "binary"))
    torch.testing.assert_close(metric.value(logit, targets), alike(logit.sigmoid(), targets))
    with pytest.raises(ValueError, match="is for two classes, the task has 3"):
        metric.fits(3)


def test_more_dimensions_are_more_examples() -> None:
    torch.manual_seed(0)
    scores, targets = torch.randn(5, 3, 4, 2), torch.randint(0, 3, (5, 4, 2))
    for name in ("accuracy", "f1", "roc_auc", "calibration_error"):
        flat = metrics.parse(name).value(scores.permute(0, 2, 3, 1).reshape(-1, 3), targets.reshape(-1))
        assert torch.equal(metrics.parse(name).value(scores, targets), flat)


def test_constant_targets_are_met_or_not() -> None:
    r2, ones = metrics.parse("r2"), torch.ones(7)
    assert r2.value(ones[:, None], ones).item() == 1
    assert r2.value(torch.arange(7.0), ones).item() == 0
    both = r2.value(torch.stack([ones, torch.arange(7.0)], 1), torch.stack([ones, torch.arange(7.0)], 1))
    assert both.item() == 1
    far = torch.arange(7.0) + 1e6  # a variance that float32 would lose
    assert r2.value(far + 1, far).item() == pytest.approx(1 - 1 / 4)


def two_class_task(**changes: Any) -> Task:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    return Task(**{"train": (x, y), "val": (x, y), **changes})


def test_a_metric_is_reported_by_its_label() -> None:
    task = two_class_task(metrics=["f1", {"name": "f1", "average": "binary", "label": "f1_of_ones"}, "rmse"][:2])
    assert metric_names(task) == {
        "train_loss": "minimize",
        "val_loss": "minimize",
        "val_f1": "maximize",
        "val_f1_of_ones": "maximize",
    }
    trained = train_task(with_paths(TrainingConfig(), {"epochs": 1}), task, Answers().trial(), "cpu")
    assert set(trained.metrics) == set(metric_names(task))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["f1", {"name": "f1", "average": "micro"}], r"^task\.metrics: f1 is given twice; give one a label"),
        ([{"name": "f1", "label": "loss"}], r"^task\.metrics: the label 'loss' is taken"),
        ([{"name": "f1", "label": "F1 micro"}], r"^task\.metrics\.label: should match pattern"),
        (["rmse"], r"^task\.metrics: rmse needs float targets, the task has others"),
        (["top_k"], r"^task\.metrics: top_k: k 5 is always right, the task has 2 classes"),
    ],
)
def test_metrics_that_do_not_fit_the_task_are_refused(given: list[Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        metric_names(two_class_task(metrics=given))


def test_no_metric_waits_for_the_device() -> None:
    """On the device `meta` there are no values: whatever looks at one raises."""
    for name in metrics:
        metric = example(metrics, name)
        if metric.packable:
            scores = torch.empty(30, 6, device="meta")
            targets = torch.empty(30, dtype=torch.int64, device="meta") if metric.classes else scores
            assert metric.value(scores, targets).shape == ()


def test_a_split_of_one_example_is_measured() -> None:
    for name in ("accuracy", "precision", "recall", "f1", "calibration_error"):
        assert torch.isfinite(metrics.parse(name).value(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1])))
