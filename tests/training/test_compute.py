"""What a step computes: in pieces, in fewer bits, compiled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.schema import check
from hpo.tasks import Task, tasks
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Trained, TrainingConfig, Verdict, train_task, with_paths
from hpo.training.precision import AmpScaler, scaler_for

CPU = torch.device("cpu")
BASE = {"epochs": 2, "batch_size": 154, "optimizer": {"name": "sgd", "lr": 0.05}}


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


def run(task: Task, store: CheckpointFile | None = None, answers: Answers | None = None, **changes: Any) -> Trained:
    config = with_paths(check(TrainingConfig, BASE), changes)
    return train_task(config, task, (answers or Answers()).trial(store), "cpu")


def weights(trained: Trained) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.net.parameters()])


TECHNIQUES: list[dict[str, Any]] = [
    {},
    {"regularization.l1": 1e-3, "regularization.gradient_clipping": 0.1},
    {"regularization.mixup": 0.3, "regularization.label_smoothing": 0.1},
    {"regularization.sam": 0.05},
    {"precision": "bfloat16"},
]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=str)
@pytest.mark.parametrize("pieces", [2, 5, 154])
def test_a_batch_in_pieces_takes_the_same_steps(technique: dict[str, Any], pieces: int, digits: Task) -> None:
    whole, parts = (run(digits, epochs=1, accumulate=n, **technique) for n in (1, pieces))
    tolerance = 2e-2 if "precision" in technique else 1e-4
    torch.testing.assert_close(weights(parts), weights(whole), rtol=tolerance, atol=tolerance / 10)
    assert parts.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=tolerance)


def test_pieces_have_masks_of_their_own(digits: Task) -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(self.drop(torch.ones(500)))
            return self.head(x.flatten(1))

    task = Task(digits.train, digits.val, model=lambda read: Watch())
    train_task(
        check(TrainingConfig.for_task(task), {**BASE, "epochs": 1, "accumulate": 2}), task, Answers().trial(), "cpu"
    )
    assert len(seen) == 14
    assert len({tuple(mask.tolist()) for mask in seen}) == 14


def test_more_pieces_than_examples_are_as_many_as_examples(digits: Task) -> None:
    assert run(digits, batch_size=200, accumulate=1000, epochs=1).metrics


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_fewer_bits_train_float32_weights_and_go_on_after_a_stop(precision: str, digits: Task, tmp_path: Path) -> None:
    whole = run(digits, precision=precision, epochs=4)
    assert {p.dtype for p in whole.net.parameters()} == {torch.float32}
    assert whole.metrics["val_loss"] < whole.history[0].metrics["val_loss"]
    assert whole.history != run(digits, epochs=4).history
    store = CheckpointFile(tmp_path / "c.pt")
    run(digits, store, Answers({2: Verdict.PUT_BACK}), precision=precision, epochs=4)
    assert run(digits, store, precision=precision, epochs=4).history == whole.history


def test_float16_works_with_what_looks_twice_and_with_pieces(digits: Task) -> None:
    plain = run(digits, epochs=3, **{"regularization.sam": 0.05, "regularization.gradient_clipping": 1.0})
    half = run(
        digits,
        epochs=3,
        precision="float16",
        accumulate=3,
        **{"regularization.sam": 0.05, "regularization.gradient_clipping": 1.0},
    )
    assert half.metrics["val_loss"] == pytest.approx(plain.metrics["val_loss"], rel=0.1)


class Steps:
    """A rule that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Tensor]] = []

    def step(self, gradients: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        self.seen.append(gradients)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_the_scaler_gives_true_gradients_and_leaves_out_a_step_that_overflows() -> None:
    scaler, rule, weight = AmpScaler(CPU), Steps(), nn.Parameter(torch.tensor(2.0))

    def step(factor: float) -> None:
        scaler.backward(factor * weight)
        scaler.unscale({"w": weight})
        assert weight.grad is not None
        gradient, weight.grad = weight.grad, None
        scaler.step(rule, {"w": gradient}, {"lr": 0.1})

    step(3.0)
    before = scaler.state_dict()["scale"]
    step(1e37)
    assert [gradients["w"].item() for gradients in rule.seen] == [3.0]
    assert scaler.state_dict()["scale"] == before / 2
    again = AmpScaler(CPU)
    again.load_state_dict(scaler.state_dict())
    assert again.state_dict() == scaler.state_dict()
    step(4.0)
    assert [gradients["w"].item() for gradients in rule.seen] == [3.0, 4.0]
    assert scaler_for("bfloat16", CPU).state_dict() == {}


def test_tensor_float_32_is_of_cuda_alone(digits: Task) -> None:
    assert run(digits, tf32=True).history == run(digits).history


DROPS = {"regularization.dropout": 0.3, "schedules.regularization.dropout": "linear", "compile": True}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own import
def test_compiled_it_trains_the_same_within_rounding_and_goes_on_after_a_stop(digits: Task, tmp_path: Path) -> None:
    compiled, eager = run(digits, **DROPS), run(digits, **{**DROPS, "compile": False})
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-4, atol=1e-5)
    store = CheckpointFile(tmp_path / "c.pt")
    run(digits, store, Answers({1: Verdict.PUT_BACK}), **DROPS)
    assert run(digits, store, **DROPS).history == compiled.history


def test_without_a_compiler_it_trains_uncompiled_and_says_so(
    digits: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.WARNING):
        found = run(digits, compile=True)
    assert [line for line in caplog.messages if line.startswith("compile: no C++ compiler was found")] != []
    assert found.history == run(digits).history
