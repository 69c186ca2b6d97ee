"""What cannot stand beside `privacy`: in the file, in a model, in a place."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from typing import Any

import pytest
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.training.regularizers import regularizers
from hpo.training.shape import Unpackable, shape_of
from tests.training.test_privacy import config_for, digits, own, run_of

__all__ = ["digits"]


@pytest.mark.parametrize("name", list(regularizers))
def test_every_regularizer_says_whether_it_goes_with_privacy(digits: Task, name: str) -> None:
    entry = regularizers.get(name)
    whole = entry.model_fields[entry.main].annotation is int
    changes = {f"regularization.{name}": 2 if whole else 0.2}
    task = own(digits)
    if entry.unprivate:
        with pytest.raises(UserError, match=f"^regularization.{name}: cannot stand beside privacy: {entry.unprivate}"):
            config_for(task, **changes)
    else:
        assert run_of(config_for(task, **{**changes, "epochs": 1}), task).metrics["epsilon"] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accumulate": 2}, "accumulate: must be 1 beside privacy, which needs each example's gradient, found 2"),
        ({"precision": "bfloat16"}, "precision: must be float32 beside privacy"),
        ({"precision": "float16"}, "precision: must be float32 beside privacy"),
        ({"compile": True}, "compile: must be false beside privacy"),
        ({"regularization.mixup": 0.2}, "regularization.mixup: cannot stand beside privacy: it mixes the examples"),
        ({"regularization.cutmix": 0.2}, "regularization.cutmix: cannot stand beside privacy: it mixes the examples"),
        ({"regularization.sam": 0.1}, "regularization.sam: cannot stand beside privacy: its way uphill is"),
        ({"loss.class_weights": "balanced"}, "loss.class_weights: cannot stand beside privacy: "),
        ({"loss.name": "focal", "loss.class_weights": "balanced"}, "loss.class_weights: cannot stand beside privacy"),
        ({"loss.class_weights": [1.0] * 10}, "loss.class_weights: cannot stand beside privacy: the weight of"),
        ({"loss": {"name": "distillation", "teacher": "t.safetensors"}}, "loss: cannot stand beside privacy: what its"),
        (
            {"schedule": {"name": "reduce_on_plateau", "metric": "train_loss"}},
            "schedule.metric: cannot be train_loss beside privacy",
        ),
        (
            {"schedules": {"optimizer.weight_decay": {"name": "reduce_on_plateau", "metric": "train_loss"}}},
            "schedules.optimizer.weight_decay.metric: cannot be train_loss beside privacy",
        ),
        (
            {"regularization.early_stopping": 3, "regularization.early_stopping.metric": "train_loss"},
            "regularization.early_stopping.metric: cannot be train_loss beside privacy",
        ),
        (
            {"privacy.target_epsilon": 3.0},
            "privacy.target_epsilon: 3 beside noise_multiplier 1; set one of the two",
        ),
        ({"privacy.noise_multiplier": 0.0}, "privacy.max_grad_norm: has no effect without privacy.noise_multiplier or"),
        ({"privacy.max_grad_norm": 0.0}, "privacy.max_grad_norm: should be greater than 0, found 0"),
        ({"privacy.delta": 1.0}, "privacy.delta: should be less than 1, found 1"),
        ({"privacy.accountant": "gdp"}, "privacy.accountant: should be 'rdp' or 'prv', found 'gdp'"),
        ({"privacy.noise": 1.0}, "unknown path 'privacy.noise'; did you mean 'privacy.noise_multiplier'?"),
    ],
)
def test_what_cannot_stand_beside_it_is_said_in_a_sentence(digits: Task, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as raised:
        config_for(digits, **changes)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


class WithBatchNorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))


class WithAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x[:, 0], x[:, 0], x[:, 0])[0].flatten(1))


class OverTheBatch(nn.Sequential):
    """A norm of a user's own, which no list knows."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores - scores.mean(0)


class Elsewhere(nn.Module):
    """A weight that acts outside of the forward of the layer that holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (1 + self.body[1].bias)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (WithBatchNorm, "privacy: the model's 2 is a BatchNorm1d, which cannot be private; use GroupNorm or LayerNorm"),
        (
            WithAttention,
            "privacy: the model's attention is a MultiheadAttention, which cannot be private; use opacus.l",
        ),
        (OverTheBatch, "privacy: an example's gradient hangs on the others of its batch"),
        (Elsewhere, "privacy: the model uses its body.1.bias where Opacus does not see it"),
    ],
)
def test_a_model_that_mixes_examples_is_refused(digits: Task, net: type[nn.Module], said: str) -> None:
    task = own(digits, net)
    with pytest.raises(UserError) as raised:
        run_of(config_for(task), task)
    assert str(raised.value).startswith(said)


def test_a_target_out_of_reach_is_said(digits: Task) -> None:
    config = config_for(digits, **{"privacy.noise_multiplier": 0.0, "privacy.target_epsilon": 0.01})
    with pytest.raises(UserError, match=r"^privacy.target_epsilon: 0.01 is less than any noise reaches in 51 steps"):
        run_of(config, digits)


def test_private_trials_train_by_themselves(digits: Task) -> None:
    with pytest.raises(Unpackable, match=r"^privacy: the gradients of single examples are taken in one training"):
        shape_of(config_for(digits))


def test_without_opacus_it_says_how_to_get_it() -> None:
    assert importlib.util.find_spec("opacus") is not None
    code = (
        "import sys\n"
        "sys.modules['opacus'] = None\n"
        "import hpo.training.privacy as p\n"
        "try: p.check_installed()\n"
        "except Exception as e: print(type(e).__name__, e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "UserError privacy: needs Opacus, which is not installed; pip install 'hpo[privacy]'"


def test_no_warning_of_opacus_comes_through(digits: Task) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_of(config_for(digits, **{"privacy.noise_multiplier": 60.0, "epochs": 1}), digits)
    assert not [str(one.message) for one in caught]
