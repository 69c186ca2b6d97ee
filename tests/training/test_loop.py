"""The loop: the same bits whenever and however often interrupted, and every way out of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpo.errors import UserError
from hpo.tasks import Task, tasks
from hpo.testing.trials import Answers
from hpo.training import (
    CheckpointFile,
    Diverged,
    Trained,
    TrainingConfig,
    Verdict,
    evaluate,
    metric_names,
    train_task,
    with_paths,
)

EVERYTHING = {
    "schedule": {"name": "cosine", "warmup_fraction": 0.1},
    "initializer": "orthogonal",
    "regularization": {"dropout": 0.3, "label_smoothing": 0.1, "l1": 1e-5, "gradient_clipping": 1.0},
    "epochs": 6,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


class Own(nn.Module):
    """A user's module with dropout, batch norm and random numbers of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        self.head = nn.Linear(width, 10)
        self.scale = nn.Parameter(torch.tensor(np.random.uniform(0.9, 1.1)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = random.random() if self.training else 0.5
        return self.head(torch.relu(self.body(x))) * self.scale * (1 + 0.1 * noise)


@pytest.fixture(scope="module")
def own(digits: Task) -> Task:
    return Task(digits.train, digits.val, digits.test, model=lambda config: Own(config["width"]))


def config_for(task: Task, **changes: Any) -> TrainingConfig:
    model = {"model.width": 32} if task.model else {}
    return with_paths(with_paths(TrainingConfig.for_task(task)(), {**EVERYTHING, **model}), changes)


def bits(trained: Trained) -> torch.Tensor:
    """All that a network holds, buffers too."""
    return torch.cat([value.double().flatten() for value in trained.net.state_dict().values()])


def run(config: TrainingConfig, task: Task, **options: Any) -> Trained:
    return train_task(config, task, Answers().trial(), "cpu", **options)


@pytest.mark.parametrize("which", ["digits", "own"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_anywhere_it_ends_with_the_same_bits(
    which: str, optimizer: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    task: Task = request.getfixturevalue(which)
    config = config_for(task, optimizer=optimizer)
    whole = Answers()
    expected = train_task(config, task, whole.trial(), "cpu")
    at = random.Random(f"{which}{optimizer}").randrange(1, config.epochs)
    store, first, second = CheckpointFile(tmp_path / "c.pt"), Answers({at: Verdict.PUT_BACK}), Answers()
    left = train_task(config, task, first.trial(store), "cpu")
    assert len(left.history) == at
    torch.manual_seed(time.time_ns() % 2**32)  # whatever else draws numbers in this process
    np.random.seed(1)
    again = train_task(config, task, second.trial(store), "cpu")
    assert torch.equal(bits(again), bits(expected))
    assert again.history == expected.history
    assert second.seen == whole.seen, "saved epochs are reported again, as their reports may have been lost"
    assert first.seen == whole.seen[: len(first.seen)]


def test_a_trial_killed_between_checkpoints_repeats_its_steps(digits: Task, tmp_path: Path) -> None:
    config = config_for(digits)
    store, whole = CheckpointFile(tmp_path / "c.pt"), Answers()
    expected = train_task(config, digits, whole.trial(), "cpu")

    class Kill(Answers):
        def __call__(self, step: int, metrics: Mapping[str, float]) -> Verdict:
            if step == 4:
                raise KeyboardInterrupt
            if step > 1:
                saved.append((tmp_path / "c.pt").read_bytes())  # of the epoch whose report was answered last
            return super().__call__(step, metrics)

    saved: list[bytes] = []
    with pytest.raises(KeyboardInterrupt):
        train_task(config, digits, Kill().trial(store, checkpoint_every=0.0), "cpu")
    (tmp_path / "c.pt").write_bytes(saved[1])  # as if no later epoch had been due
    resumed = Answers()
    again = train_task(config, digits, resumed.trial(store), "cpu")
    assert resumed.seen == whole.seen
    assert torch.equal(bits(again), bits(expected))


def test_the_seed_decides_and_nothing_else(digits: Task) -> None:
    config = config_for(digits, epochs=2)
    first = run(config, digits)
    torch.manual_seed(5)
    random.seed(5)
    torch.rand(1000)
    assert torch.equal(bits(run(config, digits)), bits(first))
    assert not torch.equal(bits(run(with_paths(config, {"seed": 1}), digits)), bits(first))


def test_the_seed_decides_in_another_process_too(digits: Task) -> None:
    config = config_for(digits, epochs=2)
    program = f"""
import torch
torch.set_num_threads({torch.get_num_threads()})
from hpo.tasks import tasks
from hpo.schema import check
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task
config = check(TrainingConfig, {config.model_dump(mode="json")!r})
print(repr(dict(train_task(config, tasks.parse("digits").make(), Answers().trial(), "cpu").metrics)))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == repr(dict(run(config, digits).metrics))


def test_it_leaves_the_callers_random_numbers_alone(own: Task) -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(()).item(), float(np.random.uniform()), random.random()

    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = draw()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    run(config_for(own, epochs=1), own)
    assert draw() == expected


def test_the_order_of_examples_hangs_on_seed_and_epoch_but_not_on_threads() -> None:
    seen: list[list[int]] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x[:, 0].int().tolist())
            return self.layer(x)

    x, y = np.arange(10, dtype=np.float32)[:, None], np.arange(10) % 2
    task = Task((x, y), (x, y), model=lambda config: Watch())
    config = with_paths(TrainingConfig.for_task(task)(), {"epochs": 2, "batch_size": 4})
    threads = torch.get_num_threads()
    orders = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            run(config, task)
            orders.append(list(seen))
            seen.clear()
    finally:
        torch.set_num_threads(threads)
    assert orders[0] == orders[1]
    assert [len(batch) for batch in orders[0]] == [4, 4, 2, 4, 4, 2], "the last batch is smaller and kept"
    first, second = (list(chain(*orders[0][a : a + 3])) for a in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10)), "each epoch sees every example once"
    assert first != second
    run(with_paths(config, {"seed": 1}), task)
    assert list(chain(*seen[:3])) != first


def test_it_is_the_plain_loop_of_torch(digits: Task) -> None:
    """Nothing is added to what the config says: the same as a dozen lines of plain PyTorch."""
    config = with_paths(
        TrainingConfig(),
        {"optimizer": {"name": "sgd", "lr": 0.05}, "schedule": "cosine", "epochs": 3, "batch_size": 100},
    )
    starts, orders = [], []

    class Spy(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
            starts.append({name: value.clone() for name, value in self.state_dict().items()})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                orders.append(x.clone())
            return super().forward(x)

    task = Task(digits.train, digits.val, model=lambda read: Spy())
    kind = TrainingConfig.for_task(task)
    plain_config = with_paths(kind(), {k: v for k, v in config.model_dump().items() if k != "model"})
    trained = run(plain_config, task)
    x_N, y_N = map(torch.as_tensor, digits.train)
    rows = {bytes(x.numpy()): int(y) for x, y in zip(x_N, y_N, strict=True)}
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    net.load_state_dict(starts[0])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(orders))
    losses = []
    for x_B in orders:
        loss = nn.functional.cross_entropy(net(x_B), torch.tensor([rows[bytes(x.numpy())] for x in x_B]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item() * len(x_B))
    for ours, theirs in zip(trained.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert trained.metrics["train_loss"] == pytest.approx(sum(losses[-11:]) / len(x_N), rel=1e-5)


@pytest.mark.parametrize("verdict", [Verdict.PRUNED, Verdict.REFUSED])
def test_pruned_and_refused_leave_without_saving(verdict: Verdict, digits: Task, tmp_path: Path) -> None:
    store, answers = CheckpointFile(tmp_path / "c.pt"), Answers({2: verdict})
    trial = answers.trial(store)
    trained = train_task(config_for(digits), digits, trial, "cpu")
    assert trial.verdict is verdict
    assert len(trained.history) == 2
    assert not (tmp_path / "c.pt").exists()


def test_until_leaves_early_on_the_schedule_of_the_whole(digits: Task) -> None:
    config = config_for(digits)
    assert run(config, digits, until=3).history == run(config, digits).history[:3]


def test_a_finished_trial_that_is_resumed_reports_its_steps_again(digits: Task, tmp_path: Path) -> None:
    store, config = CheckpointFile(tmp_path / "c.pt"), config_for(digits, epochs=2)
    done = train_task(config, digits, Answers().trial(store, checkpoint_every=0.0), "cpu")
    answers = Answers()
    again = train_task(config, digits, answers.trial(store), "cpu")
    assert [progress.step for progress in answers.seen] == [1, 2]
    assert again.metrics == done.metrics
    assert torch.equal(bits(again), bits(done))


def test_a_checkpoint_of_another_configuration_is_not_taken(
    digits: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, config = CheckpointFile(tmp_path / "c.pt"), config_for(digits, epochs=2)
    train_task(config, digits, Answers().trial(store, checkpoint_every=0.0), "cpu")
    other, answers = with_paths(config, {"optimizer.lr": 0.02}), Answers()
    assert train_task(other, digits, answers.trial(store), "cpu").history == run(other, digits).history
    assert "of another configuration" in caplog.text


def test_divergence_names_the_step_and_the_batch(digits: Task) -> None:
    config = config_for(digits, **{"optimizer": {"name": "sgd", "lr": 1e30}, "regularization.gradient_clipping": 0})
    answers = Answers()
    pattern = r"^diverged: train_loss is (nan|inf) at step 1 \(batch \d+ of 17\)$"
    with pytest.raises(Diverged, match=pattern) as raised:
        train_task(config, digits, answers.trial(), "cpu")
    assert (raised.value.step, raised.value.name) == (1, "train_loss")
    assert not answers.seen


def test_a_users_model_gets_its_section_and_what_it_leaves_unread_is_known(digits: Task) -> None:
    def model(config: Mapping[str, Any]) -> nn.Module:
        return Own(config["width"])

    task = Task(digits.train, digits.val, model=model)
    kind = TrainingConfig.for_task(task)
    assert run(with_paths(kind(), {"model.width": 8, "epochs": 1}), task).unread == ()
    config = with_paths(kind(), {"model.width": 8, "model.depht": 2, "epochs": 1})
    assert run(config, task).unread == ("model.depht",)
    with pytest.raises(KeyError, match="the config has no 'width'; did you mean 'widht'"):
        run(with_paths(kind(), {"model.widht": 8}), task)


def test_batch_norm_and_dropout_are_as_evaluated(own: Task) -> None:
    config = config_for(own, epochs=2)
    trained = run(config, own)
    assert trained.net.training
    found = evaluate(trained.net, config, own, "val", "cpu")
    assert found == {name: trained.metrics[name] for name in found}
    assert set(evaluate(trained.net, config, own, device="cpu")) == {"test_loss", "test_accuracy"}
    assert [m.p for m in trained.net.modules() if isinstance(m, nn.Dropout)] == [0.3]


def test_metrics_are_named_with_their_directions(digits: Task) -> None:
    assert metric_names(digits) == {
        "train_loss": "minimize",
        "val_loss": "minimize",
        "val_accuracy": "maximize",
        "val_recall": "maximize",
        "val_f1": "maximize",
    }


def test_bfloat16_trains_with_float32_weights(digits: Task) -> None:
    config = config_for(digits, precision="bfloat16", epochs=3)
    trained = run(config, digits)
    assert {p.dtype for p in trained.net.parameters()} == {torch.float32}
    assert trained.metrics["val_loss"] < trained.history[0].metrics["val_loss"]
    assert not torch.equal(bits(trained), bits(run(config_for(digits, epochs=3), digits)))


def test_frozen_parameters_stand_still(digits: Task) -> None:
    def model(config: Mapping[str, Any]) -> nn.Module:
        net = Own(8)
        for p in net.body.parameters():
            p.requires_grad_(False)
        first.append(net.body[1].weight.clone())
        return net

    first: list[torch.Tensor] = []
    task = Task(digits.train, digits.val, model=model)
    config = with_paths(TrainingConfig.for_task(task)(), {"epochs": 1, "regularization.l1": 0.01})
    assert torch.equal(run(config, task).net.body[1].weight, first[0])  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"batch_size": 2000}, {}, r"^batch_size: must be at most the 1078 training examples, found 2000"),
        ({"model.norm": "batch", "batch_size": 359}, {}, r"^batch_size: 359 leaves one of the 1078 training examples"),
        ({"schedule.warmup_steps": 102}, {}, r"^schedule\.warmup_steps: 102 .* the 102 steps"),
        ({}, {"model": lambda config: 3}, r"^task\.model: must return a torch\.nn\.Module, returned int"),
        ({}, {"metrics": ["acuracy"]}, r"^task\.metrics: unknown metric 'acuracy'; did you mean 'accuracy'\?"),
        ({}, {"metrics": ["f1", "f1"]}, r"^task\.metrics: f1 is given twice"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    digits: Task, changes: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    task = Task(**{"train": digits.train, "val": digits.val, **options})
    if "schedule.warmup_steps" in changes:
        changes = {"schedule.warmup_fraction": 0.0, **changes}
    with pytest.raises(UserError, match=sentence):
        run(config_for(task, **changes), task)


def test_a_step_of_the_small_model_stays_cheap(digits: Task) -> None:
    """0.25 ms on one thread of a quiet machine; a bound that a busy one keeps, in CPU time, beside torch's own loop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = with_paths(TrainingConfig(), {"epochs": 10, "optimizer": {"name": "sgd", "lr": 0.05}})
        ours = min(_seconds(lambda: run(config, digits)) for _ in range(3))
        plain = min(_seconds(lambda: _plain_loop(digits, 10)) for _ in range(3))
    finally:
        torch.set_num_threads(threads)
    assert ours < 1.2 * plain


def _seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _plain_loop(task: Task, epochs: int) -> None:
    x_N, y_N = map(torch.as_tensor, task.train)
    vx_N, vy_N = map(torch.as_tensor, task.val)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    for _ in range(epochs):
        for rows_B in torch.split(torch.randperm(len(x_N)), 32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x_N[rows_B]), y_N[rows_B]).backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            net.eval()
            nn.functional.cross_entropy(net(vx_N), vy_N).item()
            net.train()
