"""Every regularizer against its suite, and by the effect that defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpo.errors import UserError
from hpo.testing.regularizers import RegularizerSuite
from hpo.testing.strengths import small_task
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task, with_paths
from hpo.training.losses import Loss, losses
from hpo.training.randomness import Draws
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Gradients, Now, Slots, Weights, off

EXAMPLES: dict[str, dict[str, Any]] = {
    "cutmix": {"alpha": 1.0},
    "dropout": {"rate": 0.4},
    "early_stopping": {"patience": 1, "metric": "train_loss", "mode": "max"},
    "elastic_net": {"penalty": 0.01},
    "ema": {"decay": 0.9},
    "gradient_clipping": {"max_norm": 0.1, "norm": 1.5},
    "gradient_clipping_value": {"largest": 0.01},
    "gradient_noise": {"eta": 0.01},
    "input_noise": {"std": 0.5},
    "l1": {"penalty": 0.01},
    "label_smoothing": {"share": 0.2},
    "max_norm": {"largest": 0.5},
    "mixup": {"alpha": 0.4},
    "orthogonality": {"penalty": 0.1},
    "sam": {"rho": 0.1},
    "spectral": {"penalty": 0.1},
    "stochastic_depth": {"rate": 0.5},
    "swa": {"last": 0.5},
}


class TestRegularizers(RegularizerSuite):
    @pytest.fixture(params=list(regularizers))
    def regularizer(self, request: pytest.FixtureRequest) -> Regularizer:
        return regularizers.parse({"name": request.param, **EXAMPLES.get(request.param, {})})


NOW = Now(0, 10, {"optimizer.lr": 0.1}, Draws(0, 0, torch.device("cpu")))


def nothing(net: nn.Module) -> Slots:
    """All slots off."""
    return off(net, lambda step, metrics: True, outputs=3)


def net_and_gradient() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), torch.randn(5, 4)


def test_l1_adds_the_sum_of_absolute_weights_and_its_gradient() -> None:
    net, _ = net_and_gradient()
    slots = regularizers.parse({"name": "l1", "penalty": 0.5}).fill(nothing(net))
    value = slots.penalty(dict(net.named_parameters()), torch.tensor(2.0), NOW)
    expected = 2.0 + 0.5 * sum(p.abs().sum().item() for p in net.parameters())
    assert value.item() == pytest.approx(expected)
    value.backward()
    for p in net.parameters():
        torch.testing.assert_close(p.grad, 0.5 * p.sign())


def test_l1_leaves_the_reported_loss_alone_and_shrinks_weights() -> None:
    config = TrainingConfig(epochs=5)
    plain = train_task(config, small_task(), Answers().trial(), "cpu")
    shrunk = train_task(with_paths(config, {"regularization.l1": 0.01}), small_task(), Answers().trial(), "cpu")
    size = [sum(p.abs().sum().item() for p in run.net.parameters()) for run in (plain, shrunk)]
    assert size[1] < 0.98 * size[0]
    first = [run.history[0].metrics["train_loss"] for run in (plain, shrunk)]
    assert first[1] < 1.5 * first[0], "the penalty, about 1 here, is not part of it"


def test_clipping_bounds_the_norm_and_keeps_the_direction() -> None:
    net, x = net_and_gradient()
    loss = lambda: (net(x) * 10).square().sum()  # noqa: E731

    def compute(weights: Weights) -> tuple[torch.Tensor, Gradients]:
        found = torch.autograd.grad(loss(), list(weights.values()))
        return loss().detach(), dict(zip(weights, found, strict=True))

    def gradient(slots: Slots) -> torch.Tensor:
        value, found = slots.gradient(compute, dict(net.named_parameters()), NOW)
        assert value.item() == pytest.approx(loss().item())
        return torch.cat([g.flatten() for g in found.values()])

    free = gradient(nothing(net))
    for norm in (1.0, 2.0):
        clip = regularizers.parse({"name": "gradient_clipping", "max_norm": 0.3, "norm": norm})
        held = gradient(clip.fill(nothing(net)))
        assert torch.linalg.vector_norm(held, norm).item() == pytest.approx(0.3, rel=1e-4)
        torch.testing.assert_close(held / held.norm(), free / free.norm())
    loose = regularizers.parse({"name": "gradient_clipping", "max_norm": 1e9})
    assert torch.equal(gradient(loose.fill(nothing(net))), free)


def test_dropout_sets_every_place_also_in_a_users_model() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.1)))
    for rate in (0.3, 0.0):
        regularizers.parse({"name": "dropout", "rate": rate}).prepare(net)
        assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [rate, rate]


def test_dropout_without_a_place_is_an_error() -> None:
    with pytest.raises(UserError, match=r"regularization\.dropout: 0\.3 has no effect"):
        regularizers.parse({"name": "dropout", "rate": 0.3}).prepare(nn.Linear(2, 2))
    regularizers.parse({"name": "dropout", "rate": 0.0}).prepare(nn.Linear(2, 2))


def test_smoothing_changes_the_training_loss_only() -> None:
    config = with_paths(TrainingConfig(epochs=30), {"optimizer.lr": 0.01, "regularization.label_smoothing": 0.5})
    metrics = train_task(config, small_task(), Answers().trial(), "cpu").metrics
    # with half of each target spread over 3 classes no training loss can be below this entropy
    shares = np.array([0.5 + 0.5 / 3, 0.5 / 3, 0.5 / 3])
    assert metrics["train_loss"] > -(shares * np.log(shares)).sum()
    assert metrics["val_loss"] < metrics["train_loss"]


def test_a_loss_that_smooths_nothing_refuses_label_smoothing() -> None:
    class Distance(Loss):
        """Mean distance."""

        classes = False

    try:
        losses("distance")(Distance)
        with pytest.raises(UserError, match=r"^regularization\.label_smoothing: 0\.1 cannot be used with loss 'dist"):
            with_paths(TrainingConfig(), {"regularization.label_smoothing": 0.1, "loss": "distance"})
        assert with_paths(TrainingConfig(), {"regularization.label_smoothing": 0, "loss": "distance"})
    finally:
        losses.remove("distance")
