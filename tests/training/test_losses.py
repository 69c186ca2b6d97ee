"""Every loss against its suite, torch, and what it is made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as f

from hpo.errors import UserError
from hpo.tasks import Task, tasks
from hpo.testing.entries import example
from hpo.testing.losses import LossSuite, Original
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, evaluate, train_task, with_paths
from hpo.training.losses import Loss, losses
from hpo.training.weights import load_network, model_section, save_weights


def softmax_focal(scores: Tensor, target: Tensor) -> Tensor:
    """The paper's, by hand."""
    share = scores.softmax(1)[torch.arange(len(target)), target]
    return -((1 - share) ** 2 * share.log()).mean()


CASES: list[tuple[dict[str, Any], Original | None]] = [
    ({"name": "cross_entropy"}, f.cross_entropy),
    ({"name": "focal"}, softmax_focal),
    ({"name": "focal", "gamma": 0.0}, f.cross_entropy),
    ({"name": "focal", "gamma": 0.5}, None),
    ({"name": "binary_cross_entropy"}, f.binary_cross_entropy_with_logits),
    (
        {"name": "binary_cross_entropy", "pos_weight": 3.0},
        lambda s, y: f.binary_cross_entropy_with_logits(s, y, pos_weight=torch.tensor(3.0)),
    ),
    ({"name": "mae"}, f.l1_loss),
    ({"name": "mse"}, f.mse_loss),
    ({"name": "huber"}, f.huber_loss),
    ({"name": "huber", "delta": 0.3}, lambda s, y: f.huber_loss(s, y, delta=0.3)),
    ({"name": "smooth_l1"}, f.smooth_l1_loss),
    ({"name": "smooth_l1", "beta": 0.3}, lambda s, y: f.smooth_l1_loss(s, y, beta=0.3)),
    ({"name": "quantile", "q": 0.5}, lambda s, y: f.l1_loss(s, y) / 2),
    ({"name": "quantile", "q": 0.9}, lambda s, y: torch.where(y > s, 0.9 * (y - s), 0.1 * (s - y)).mean()),
]
known = {fields["name"] for fields, _ in CASES}
CASES += [({"name": name}, None) for name in losses if name not in known]


class TestLosses(LossSuite):
    @pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case[0].values())))
    def case(self, request: pytest.FixtureRequest) -> tuple[dict[str, Any], Original | None]:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def loss(self, case: tuple[dict[str, Any], Original | None]) -> Loss:
        return example(losses, **case[0])  # type: ignore[no-any-return]

    @pytest.fixture
    def reference(self, case: tuple[dict[str, Any], Original | None]) -> Original | None:
        return case[1]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(40, 3), torch.cat([torch.zeros(30), torch.ones(8), torch.full((2,), 2)]).long()


@pytest.mark.parametrize("smoothing", [0.0, 0.2, torch.tensor(0.2)])
@pytest.mark.parametrize("weights", ["equal", "balanced", [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("soft", [False, True])
def test_weighted_cross_entropy_is_torchs(
    batch: tuple[Tensor, Tensor], smoothing: float | Tensor, weights: Any, soft: bool
) -> None:
    scores, classes = batch
    target = 0.8 * f.one_hot(classes, 3) + 0.2 * f.one_hot(classes.flip(0), 3) if soft else classes
    loss = losses.parse({"name": "cross_entropy", "class_weights": weights}).fitted(classes, 3)
    told = {"equal": [1, 1, 1], "balanced": [40 / 90, 40 / 24, 40 / 6]}.get(weights if isinstance(weights, str) else "")
    expected = f.cross_entropy(scores, target, torch.tensor(told or weights).float(), label_smoothing=float(smoothing))
    torch.testing.assert_close(loss.value(scores, target, smoothing), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_balanced_weights_make_classes_count_alike(name: str, batch: tuple[Tensor, Tensor]) -> None:
    _, classes = batch
    loss = losses.parse({"name": name, "class_weights": "balanced"}).fitted(classes, 4)
    assert isinstance(loss.class_weights, tuple)  # type: ignore[attr-defined]
    counts = torch.tensor([30, 8, 2, 1])  # the fourth has no example and counts as if it had one
    assert torch.tensor(loss.class_weights) @ counts.float() == pytest.approx(40)  # type: ignore[attr-defined]
    scores = torch.zeros(40, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss.value(scores, classes), scores)
    pulls = [gradient[classes == c, c].sum().item() for c in range(3)]
    assert pulls == pytest.approx([pulls[0]] * 3)


def test_fading_looks_away_from_what_is_right() -> None:
    scores = torch.tensor([[4.0, 0.0], [0.0, 4.0]], requires_grad=True)
    for gamma in (0.0, 2.0):
        loss = losses.parse({"name": "focal", "gamma": gamma})
        (gradient,) = torch.autograd.grad(loss.value(scores, torch.tensor([0, 0])), scores)
        right, wrong = gradient.abs().sum(1).tolist()
        assert (right / wrong < 1e-3) == (gamma > 0)


def test_alpha_weighs_the_second_of_two_classes() -> None:
    logit, classes = torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    share = torch.where(classes == 1, logit.sigmoid(), 1 - logit.sigmoid())
    alpha = torch.where(classes == 1, 0.25, 0.75)
    expected = -(alpha * (1 - share) ** 2 * share.log()).mean()
    loss = losses.parse({"name": "focal", "alpha": 0.25}).fitted(classes, 2)
    for scores in (logit, logit[:, None], torch.stack([-logit / 2, logit / 2], 1)):
        torch.testing.assert_close(loss.value(scores, classes), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "focal"])
def test_two_classes_take_one_logit_or_two_scores(name: str) -> None:
    logit, classes = torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    loss = losses.parse(name if name != "focal" else {"name": "focal", "gamma": 0.0}).fitted(classes, 2)
    expected = f.binary_cross_entropy_with_logits(logit, classes.float())
    shares = f.one_hot(classes, 2).float()
    for scores in (logit, logit[:, None], torch.stack([-logit, torch.zeros(50)], 1)):
        for target in (classes, shares):  # shares are what mixing gives
            torch.testing.assert_close(loss.value(scores, target), expected, rtol=1e-6, atol=1e-6)


def test_the_quantile_loss_is_least_at_the_quantile() -> None:
    targets = torch.linspace(0, 1, 1001)
    loss = losses.parse({"name": "quantile", "q": 0.8})
    values = [loss.value(torch.full((1001,), score), targets).item() for score in (0.7, 0.75, 0.8, 0.85, 0.9)]
    assert min(values) == values[2]


@pytest.mark.parametrize("name", [name for name in losses if not losses.get(name).takes(True)])
def test_a_column_of_scores_is_not_paired_with_every_target(name: str) -> None:
    scores, targets = torch.randn(30, 1), torch.randn(30)
    assert torch.equal(losses.parse(name).value(scores, targets), losses.parse(name).value(scores[:, 0], targets))
    with pytest.raises(UserError, match=r"the model gives 2 for one example, the targets are a single number"):
        losses.parse(name).value(torch.randn(30, 2), targets)


@pytest.mark.parametrize(
    ("fields", "outputs", "sentence"),
    [
        ({"name": "cross_entropy", "class_weights": [1, 2]}, 3, r"^loss\.class_weights: must be one for each of the 3"),
        ({"name": "focal", "alpha": 0.3}, 3, r"^loss\.alpha: is for two classes, the task has 3"),
        ({"name": "binary_cross_entropy"}, 3, r"^loss: binary_cross_entropy is for two classes, the task has 3"),
    ],
)
def test_what_does_not_fit_the_classes_is_refused(fields: dict[str, Any], outputs: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        losses.parse(fields).fitted(torch.tensor([0, 1, 2]), outputs)


def test_one_way_to_weigh_is_enough() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        losses.get("focal").model_validate({"alpha": 0.3, "class_weights": [1.0, 2.0]})


def test_a_task_with_few_of_a_class_is_trained_with_weights() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.1).astype(np.int64)
    x = (rng.normal(size=(400, 4)) + 0.9 * y[:, None]).astype(np.float32)
    task = Task(train=(x[:200], y[:200]), val=(x[200:], y[200:]), test=(x[200:], y[200:]), metrics=("recall",))
    found = {}
    for weights in ("equal", "balanced"):
        config = with_paths(TrainingConfig(), {"loss.class_weights": weights, "epochs": 10, "optimizer.lr": 0.01})
        trained = train_task(config, task, Answers().trial(), "cpu")
        found[weights] = trained.metrics["val_recall"]
        tested = evaluate(trained.net, config, task, device="cpu")
        assert tested["test_loss"] == trained.metrics["val_loss"], "the weights are those of the training targets"
    assert found["balanced"] > found["equal"] + 0.05


@pytest.mark.parametrize("name", list(losses))
def test_every_loss_trains(name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) if losses.get(name).takes(classes=True) else x[:, 0]
    fields = example(losses, name).model_dump()
    if "teacher" in fields:
        fields["teacher"] = saved_teacher(Task(train=(x, y), val=(x, y)), tmp_path)
    task = Task(train=(x, y), val=(x, y), loss=fields, metrics=())
    config = with_paths(TrainingConfig.for_task(task)(), {"epochs": 5, "optimizer.lr": 0.01})
    answers = Answers()
    train_task(config, task, answers.trial(), "cpu")
    assert answers.seen[-1].metrics["val_loss"] < answers.seen[0].metrics["val_loss"]


def saved_teacher(task: Task, folder: Path, **changes: Any) -> str:
    """Weights of a network trained on the task."""
    config = with_paths(TrainingConfig(), {"epochs": 20, "optimizer.lr": 0.01, "model.width": 48, **changes})
    net = train_task(config, task, Answers().trial(), "cpu").net
    save_weights(net, model_section(config), folder / "teacher.safetensors")
    return str(folder / "teacher.safetensors")


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


def test_a_student_learns_from_its_teacher_what_no_target_says(digits: Task, tmp_path: Path) -> None:
    teacher = saved_teacher(digits, tmp_path)
    silent = Task(train=(digits.train[0], np.zeros_like(digits.train[1])), val=digits.val)
    found = {}
    for alpha in (0.0, 1.0):
        loss = {"loss.name": "distillation", "loss.teacher": teacher, "loss.alpha": alpha}
        config = with_paths(TrainingConfig(), {**loss, "epochs": 5, "optimizer.lr": 0.01})
        found[alpha] = train_task(config, silent, Answers().trial(), "cpu").metrics["val_accuracy"]
    assert found[0.0] < 0.2
    assert found[1.0] > 0.8


def test_without_a_share_the_teacher_changes_nothing(digits: Task, tmp_path: Path) -> None:
    short = {"epochs": 2, "batch_size": 128}
    plain = train_task(with_paths(TrainingConfig(), short), digits, Answers().trial(), "cpu")
    loss = {"name": "distillation", "teacher": saved_teacher(digits, tmp_path, epochs=1), "alpha": 0.0}
    taught = train_task(with_paths(TrainingConfig(), {**short, "loss": loss}), digits, Answers().trial(), "cpu")
    assert taught.metrics == plain.metrics


def test_the_distance_is_hintons(digits: Task, tmp_path: Path) -> None:
    torch.manual_seed(0)
    scores, target, inputs = torch.randn(8, 10), torch.arange(8), torch.as_tensor(digits.train[0][:8])
    fields = {"teacher": saved_teacher(digits, tmp_path, epochs=1), "alpha": 0.7, "temperature": 3.0}
    loss = losses.parse({"name": "distillation", **fields})
    taught = load_network(Path(fields["teacher"]), digits, "loss.teacher").eval()(inputs)
    p, q = (taught / 3).softmax(1), (scores / 3).softmax(1)
    expected = 0.3 * f.cross_entropy(scores, target) + 0.7 * 9 * (p * (p / q).log()).sum(1).mean()
    found = loss.training(digits, torch.device("cpu"))(scores, target, inputs, 0.0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_function_may_make_the_teacher(digits: Task, tmp_path: Path) -> None:
    code = """
from torch import nn
MADE = []
def make():
    MADE.append(1)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
def raises():
    raise OSError("no disk")
def text():
    return "net"
def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
def main(): return len(MADE)
"""
    (tmp_path / "my_teacher.py").write_text(code)

    def scores_of(name: str) -> Tensor:
        loss = losses.parse({"name": "distillation", "teacher": f"my_teacher.py:{name}"}).placed(tmp_path)
        train = loss.training(digits, torch.device("cpu"))
        return train(torch.zeros(4, 10), torch.arange(4), torch.as_tensor(digits.train[0][:4]), 0.0)

    assert torch.equal(scores_of("make"), scores_of("make")), "one and the same, in evaluation mode"
    for name, sentence in (
        ("raises", r"^loss\.teacher: .*my_teacher\.py:raises raised OSError: no disk$"),
        ("text", r"^loss\.teacher: .* must return a torch\.nn\.Module, returned str$"),
        ("narrow", r"^loss\.teacher: gives 9 scores an example, the model gives 10$"),
        ("mak", r"^loss\.teacher: .*did you mean 'make'\?"),
    ):
        with pytest.raises(UserError, match=sentence):
            scores_of(name)


def test_a_teacher_that_is_not_there_or_no_network_is_a_sentence(digits: Task, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    distillation = losses.get("distillation")
    for text, sentence in (
        ("gone.safetensors", r"^loss\.teacher: no file 'gone\.safetensors' in "),
        ("teacher.pt", r"^loss\.teacher, which is no \.safetensors file: 'teacher\.pt' must be a file or module"),
        ("gone.py:make", r"^loss\.teacher: no file 'gone\.py' in "),
    ):
        with pytest.raises(UserError, match=sentence):
            distillation.model_validate({"teacher": text}).placed(tmp_path)
    (tmp_path / "text.safetensors").write_text("weights")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 9))
    save_weights(narrow, model_section(TrainingConfig()), tmp_path / "other.safetensors")
    for name, sentence in (
        ("text", r"^loss\.teacher: .*text\.safetensors cannot be read as safetensors: "),
        ("foreign", r"^loss\.teacher: .*foreign\.safetensors does not say which model it is of; it must be written by"),
        ("other", r"^loss\.teacher: .*other\.safetensors holds other weights than its model has: .*size mismatch"),
    ):
        loss = distillation.model_validate({"teacher": f"{name}.safetensors"}).placed(tmp_path)
        with pytest.raises(UserError, match=sentence):
            loss.training(digits, torch.device("cpu"))
