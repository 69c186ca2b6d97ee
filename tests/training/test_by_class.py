"""Confusion matrix and ROC curves of a network, against torchmetrics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as f
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.tasks import Task
from hpo.training.by_class import MOST_CLASSES, MOST_POINTS, ByClass, measure_by_class

CLASSES, N = 6, 300


def measured(scores: Tensor, targets: Tensor, net: nn.Module | None = None, **changes: Any) -> ByClass | None:
    """Of a network that hands its input on, unless it is another."""
    task = Task(**{"train": (scores, targets), "val": (scores, targets), **changes})
    return measure_by_class(net or nn.Identity(), task, "val", "cpu")


def found(scores: Tensor, targets: Tensor) -> ByClass:
    one = measured(scores, targets)
    assert one is not None
    return one


def split(examples: int = N, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores, many of them equal, and what is there, which they know a little of."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (examples,), generator=generator)
    known = nn.functional.one_hot(targets, classes)
    return (torch.randn(examples, classes, generator=generator) + known).mul(4).round() / 4, targets


def apart(x: Any, y: Any, other_x: Any, other_y: Any) -> float:
    """How far the second curve leaves the first; both only grow, so that x + y is a place on each."""
    along, other = np.add(x, y), np.add(other_x, other_y)
    return float(np.abs(np.interp(other, along, x) - np.asarray(other_x)).max())


def torchmetrics_roc(scores: Tensor, targets: Tensor) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    false, true, _ = f.multiclass_roc(scores.double().softmax(1), targets, scores.shape[1])
    return [(x.double().numpy(), y.double().numpy()) for x, y in zip(false, true, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_they_are_torchmetrics_own(seed: int) -> None:
    scores, targets = split(seed=seed)
    ours = found(scores, targets)
    assert ours.split == "val"
    assert ours.confusion == tuple(map(tuple, f.multiclass_confusion_matrix(scores, targets, CLASSES).tolist()))
    areas = f.multiclass_auroc(scores.double().softmax(1), targets, CLASSES, average="none")
    theirs = torchmetrics_roc(scores, targets)
    assert [curve.of_class for curve in ours.roc] == list(range(CLASSES))
    for curve, area, (x, y) in zip(ours.roc, areas.tolist(), theirs, strict=True):
        assert curve.area == pytest.approx(area, abs=2e-6)
        assert apart(curve.false_positives, curve.true_positives, x, y) < 1e-4, "all of theirs lies on ours"
        assert apart(x, y, curve.false_positives, curve.true_positives) < 1e-4, "and ours on theirs"
        assert len(curve.false_positives) < len(x), "what lies between two others on a line is left out"


def test_of_two_classes_one_logit_gives_the_curve_of_the_second() -> None:
    scores, targets = split(classes=2)
    logit = scores[:, 1] - scores[:, 0]
    ours = found(logit[:, None], targets)
    (curve,) = ours.roc
    x, y, _ = f.binary_roc(logit.double().sigmoid(), targets)
    assert curve.of_class == 1
    assert curve.area == pytest.approx(f.binary_auroc(logit.double().sigmoid(), targets).item(), abs=2e-6)
    assert apart(curve.false_positives, curve.true_positives, x.double().numpy(), y.double().numpy()) < 1e-4
    assert ours.roc == found(scores, targets).roc


def test_a_curve_of_many_points_is_kept_closely_and_its_area_exactly() -> None:
    scores, targets = split(examples=20_000, classes=10)
    scores += torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)) / 8  # hardly one like another
    ours = found(scores, targets)
    areas = f.multiclass_auroc(scores.double().softmax(1), targets, 10, average="none")
    for curve, area, (x, y) in zip(ours.roc, areas.tolist(), torchmetrics_roc(scores, targets), strict=True):
        assert len(x) > 10_000
        assert len(curve.false_positives) <= MOST_POINTS // 10
        assert curve.area == pytest.approx(area, abs=2e-6)
        assert (curve.false_positives[0], curve.true_positives[0]) == (0, 0)
        assert (curve.false_positives[-1], curve.true_positives[-1]) == (1, 1)
        assert apart(curve.false_positives, curve.true_positives, x, y) < 0.01


def test_the_largest_is_held_by_the_smallest_text_of_a_database() -> None:
    scores, targets = split(examples=20_000, classes=MOST_CLASSES)
    scores += torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)) / 8
    ours = found(scores, targets)
    assert len(ours.roc) == MOST_CLASSES
    # as of billions of examples; json.dumps is what Optuna writes, with its blanks
    longer = ours.model_copy(update={"confusion": ((10**8,) * MOST_CLASSES,) * MOST_CLASSES})
    assert len(json.dumps(longer.model_dump(mode="json"))) < 2**16


def test_it_is_plain_json_and_reads_back() -> None:
    ours = found(*split())
    assert ByClass.model_validate_json(ours.model_dump_json()) == ours


def test_a_class_without_examples_has_a_row_of_noughts_and_no_curve() -> None:
    scores, targets = split()
    ours = found(scores, targets % (CLASSES - 1))
    assert ours.confusion[-1] == (0,) * CLASSES
    assert [curve.of_class for curve in ours.roc] == list(range(CLASSES - 1))
    assert found(scores, torch.full_like(targets, 5)).roc == ()


def test_there_is_nothing_of_other_targets_and_of_very_many_classes() -> None:
    scores, targets = split()
    assert measured(scores, torch.randn(N), loss="mse", metrics=["mae"]) is None
    many = split(classes=MOST_CLASSES + 1)
    assert measured(*many) is None
    assert measured(many[0], targets) is None, "scores of more classes than there are"
    pictures = torch.randn(8, 3, 4, 4), torch.randint(0, 3, (8, 4, 4))
    assert measured(*pictures) is None


def test_the_network_is_measured_in_evaluation_mode_and_left_as_it_was() -> None:
    scores, targets = split()
    net = nn.Sequential(nn.BatchNorm1d(CLASSES), nn.Dropout(0.9)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ours = measured(scores, targets, net)
    assert ours is not None
    assert ours.confusion == found(scores, targets).confusion
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
