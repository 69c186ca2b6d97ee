"""A training from weights moved by one ulp: how far it goes from the one it is compared with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hpo.training.again import Again, move_by_one_ulp, train_again
from hpo.training.function import TaskJob
from hpo.training.trial import Diverged, Progress


def trained(config: dict[str, Any] | None = None, **how: Any) -> Again:
    full = {
        "epochs": 3,
        "batch_size": 64,
        "model.name": "mlp",
        "model.width": 16,
        "optimizer.lr": 0.1,
        **(config or {}),
    }
    job = TaskJob(base={}, folder=".", name="digits")
    return train_again(job, params={}, config=full, seed=3, number=0, device="cpu", until=None, **how)


def test_every_floating_weight_becomes_the_next_number() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1, dtype=torch.bfloat16))
    net.register_parameter("whole", nn.Parameter(torch.tensor([1]), requires_grad=False))
    before = [weight.clone() for weight in net.parameters()]
    move_by_one_ulp(net, torch.inf)
    for old, new in zip(before, net.parameters(), strict=True):
        if old.is_floating_point():
            assert (new > old).all()
            assert torch.equal(torch.nextafter(new, torch.full_like(new, -torch.inf)), old)
        else:
            assert torch.equal(new, old)


def test_a_moved_training_is_another_one_and_always_the_same() -> None:
    plain, moved = trained(), trained(moved=1)
    assert moved.history == trained(moved=1).history
    assert moved.history != trained(moved=-1).history
    assert [one.step for one in moved.history] == [1, 2, 3]
    apart = plain.distance(moved, "val_loss", None)
    assert 0 < apart < 0.01
    assert apart == max(
        abs(a.metrics["val_loss"] - b.metrics["val_loss"]) for a, b in zip(plain.history, moved.history, strict=True)
    )
    assert moved.net is None
    assert (moved.test, trained(tested=False).test) == ({}, {})
    assert {"val_accuracy": 1 / 360, "val_recall": 1 / 360, "val_f1": 1 / 360}.items() <= plain.grain.items()
    assert "val_loss" not in plain.grain


def test_a_moved_training_that_diverges_ends_there() -> None:
    bad = {"optimizer.lr": 1e30}
    with pytest.raises(Diverged):
        trained(bad)
    assert trained(bad, moved=1).history == ()


def test_the_distance_is_of_what_both_have() -> None:
    one = Again((Progress(1, {"a": 1.0}), Progress(2, {"a": 3.0})), {}, {}, None)
    other = Again((Progress(1, {"a": 1.5}),), {"b": 1.0}, {}, None)
    assert one.distance(other, "a", None) == 1.5  # in the end 3.0 and 1.5
    assert one.distance(other, "a", 1) == 0.5
    assert one.distance(other, "b", None) == 0.0
