"""DP-SGD: its gradient by hand, its noise, its batches, its epsilon, and its sameness."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opacus.accountants import create_accountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy import stats
from torch import Tensor, nn

from hpo.tasks import Task, tasks
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Trained, TrainingConfig, Verdict, train_task, with_paths
from hpo.training.evaluation import on_device
from hpo.training.loop import begin
from hpo.training.private import PrivateRun, clipped_sums, epsilon_of
from hpo.training.randomness import seeded
from hpo.training.slots import Now

CPU = torch.device("cpu")
PRIVATE = {"privacy.noise_multiplier": 1.0, "privacy.max_grad_norm": 0.5, "batch_size": 64, "epochs": 3}


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


class Layers(nn.Module):
    """A convolution, a group norm, an embedding of the brightest pixel, a branch, a layer used twice, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True))
        self.bright = nn.Embedding(64, 16)
        self.narrow = nn.Linear(256, 16)
        self.branch, self.twice = nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm, self.drop, self.head = nn.LayerNorm(16), nn.Dropout(0.2), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.narrow(self.seen(x).flatten(1)) + self.bright(x.flatten(1).argmax(1))
        h = h + self.branch(torch.relu(h))
        h = self.twice(torch.relu(self.twice(torch.relu(h))))
        return self.head(self.drop(self.norm(h)))


def own(digits: Task, net: type[nn.Module] = Layers) -> Task:
    return Task(digits.train, digits.val, digits.test, model=lambda config: net())


def config_for(task: Task, **changes: Any) -> TrainingConfig:
    return with_paths(with_paths(TrainingConfig.for_task(task)(), PRIVATE), changes)


def begun(task: Task, config: TrainingConfig) -> PrivateRun:
    with seeded(config.seed, CPU) as random:
        run = begin(config, task, Answers().trial(), CPU, random)
    assert isinstance(run, PrivateRun)
    return run


def run_of(config: TrainingConfig, task: Task, **options: Any) -> Trained:
    return train_task(config, task, Answers().trial(**options), "cpu")


def bits(trained: Trained) -> Tensor:
    return torch.cat([value.double().flatten() for value in trained.net.state_dict().values()])


def first_batch(run: PrivateRun) -> tuple[Tensor, Now]:
    return next(iter(run.batches(0))), next(iter(run.moments(0)))


# ---------------------------------------------------------------- the gradient


def by_hand(run: PrivateRun, rows_B: Tensor) -> dict[str, Tensor]:
    """The sum of clipped gradients, one example after the other."""
    sums = {name: torch.zeros_like(weight) for name, weight in run.weights.items()}
    for row in rows_B.tolist():
        loss = nn.functional.cross_entropy(run.net(run.x_N[row : row + 1]), run.y_N[row : row + 1])
        found = torch.autograd.grad(loss, list(run.weights.values()))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in found))
        for name, gradient in zip(run.weights, found, strict=True):
            sums[name] += gradient * min(1.0, run.config.privacy.max_grad_norm / norm)
    return sums


@pytest.mark.parametrize("which", ["mlp", "cnn", "own"])
def test_a_steps_gradient_is_that_of_a_loop_over_its_examples(digits: Task, which: str) -> None:
    task = own(digits) if which == "own" else digits
    config = config_for(task, **({} if which == "own" else {"model.name": which}))
    run = begun(task, config)
    for module in run.net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rows_B, now = first_batch(run)
    value, found = run.gradients(rows_B, now)
    noise = run.private.noise(run.weights, now.draws)
    sums = by_hand(run, rows_B)
    largest = max(float(gradient.abs().max()) for gradient in sums.values())
    for name, gradient in found.items():
        hand = (sums[name] + noise[name]) / config.batch_size
        assert (gradient - hand).abs().max() * config.batch_size <= 1e-6 * max(largest, 1), name
    with torch.no_grad():
        assert float(value) == pytest.approx(
            float(nn.functional.cross_entropy(run.net(run.x_N[rows_B]), run.y_N[rows_B])), rel=1e-6
        )
    assert 0 < largest < len(rows_B) * config.privacy.max_grad_norm


def test_clipping_is_opacus_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    private = GradSampleModule(net)
    x_B, y_B = torch.randn(20, 5, requires_grad=True), torch.randint(3, (20,))
    optimizer = DPOptimizer(
        torch.optim.SGD(net.parameters(), 0.1), noise_multiplier=0.0, max_grad_norm=0.3, expected_batch_size=16
    )
    nn.functional.cross_entropy(private(x_B), y_B).backward()
    samples = {name: parameter.grad_sample.clone() for name, parameter in net.named_parameters()}
    optimizer.pre_step()
    for name, gradient in clipped_sums(samples, 0.3).items():
        torch.testing.assert_close(gradient / 16, net.get_parameter(name).grad, rtol=1e-5, atol=1e-7)


def test_no_example_moves_a_step_by_more_than_its_norm(digits: Task) -> None:
    """What epsilon rests on: the steps of two batches that differ in one example."""
    run = begun(digits, config_for(digits, **{"privacy.max_grad_norm": 0.05}))
    rows_B, now = first_batch(run)
    _, whole = run.gradients(rows_B, now)
    _, without = run.gradients(rows_B[1:], now)
    moved = math.sqrt(sum(float((whole[name] - without[name]).double().square().sum()) for name in whole))
    assert moved * run.config.batch_size <= 0.05 * (1 + 1e-4)
    assert moved * run.config.batch_size >= 0.05 * 0.9, "the example's gradient is longer than that by far"


def test_a_penalty_is_added_as_it_is(digits: Task) -> None:
    steps = []
    for penalty in (0.0, 0.01):
        run = begun(digits, config_for(digits, **{"regularization.l1": penalty}))
        steps.append((run.weights, run.gradients(*first_batch(run))[1]))
    (weights, plain), (_, penalized) = steps
    for name, weight in weights.items():
        torch.testing.assert_close(penalized[name], plain[name] + 0.01 * weight.detach().sign(), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- noise and batches


def test_the_noise_is_normal_of_the_stated_deviation(digits: Task) -> None:
    config = config_for(digits, **{"privacy.noise_multiplier": 2.0, "privacy.max_grad_norm": 0.3, "model.width": 64})
    run = begun(digits, config)
    seen = [
        torch.cat([n.flatten() for n in run.private.noise(run.weights, now.draws).values()]).double().numpy() / 0.6
        for now, _ in zip(run.moments(0), range(8), strict=False)
    ]
    numbers = np.concatenate(seen)
    assert len(numbers) > 30_000
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    error = math.sqrt(2 / len(numbers))  # of a variance
    assert abs(numbers.var() - 1) < 4 * error
    assert abs(numbers.mean()) < 4 / math.sqrt(len(numbers))
    correlations = np.corrcoef(seen)
    assert abs(correlations - np.eye(8)).max() < 5 / math.sqrt(len(seen[0])), "steps do not hang on each other"


def test_batches_are_drawn_by_poisson_sampling(digits: Task) -> None:
    config = config_for(digits, epochs=20)
    run = begun(digits, config)
    rate = 64 / len(run.x_N)
    taken = np.zeros((run.steps * 20, len(run.x_N)), dtype=bool)
    for epoch in range(20):
        for step, rows_B in enumerate(run.batches(epoch), epoch * run.steps):
            taken[step, rows_B.numpy()] = True
            assert (rows_B.diff() > 0).all()
    steps, examples = taken.shape
    # each example as often as a binomial, and the sizes of batches as well
    for counts, of in ((taken.sum(0), steps), (taken.sum(1), examples)):
        expected = of * rate * (1 - rate)
        assert abs(counts.mean() - of * rate) < 4 * math.sqrt(expected / len(counts))
        assert stats.chi2.sf(((counts - of * rate) ** 2 / expected).sum(), len(counts)) > 1e-4
    together = (taken[:, 0:-1:2] & taken[:, 1::2]).mean()
    assert together == pytest.approx(rate**2, rel=0.15), "neighbours are drawn apart"


def test_an_empty_batch_is_a_step_of_noise() -> None:
    x, y = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])
    task = Task(train=(x, y), val=(x, y))
    config = config_for(task, **{"batch_size": 1, "epochs": 4, "regularization.input_noise": 0.1})
    run = begun(task, config)
    sizes = [len(rows_B) for epoch in range(4) for rows_B in run.batches(epoch)]
    assert min(sizes) == 0 < max(sizes)
    assert len(sizes) == 24
    value, found = run.gradients(torch.zeros(0, dtype=torch.int64), first_batch(run)[1])
    assert value == 0
    assert all(float(gradient.abs().min()) > 0 for gradient in found.values())
    losses = run.one_epoch(0)
    mean = float(run.mean_over_examples(torch.stack(losses)))
    assert mean == pytest.approx(
        sum(float(loss) * size for loss, size in zip(losses, run.sizes, strict=True)) / sum(run.sizes), rel=1e-6
    )
    assert math.isfinite(run_of(config, task).metrics["train_loss"])


# ---------------------------------------------------------------- epsilon


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_epsilon_is_opacus_own_to_the_last_bit(digits: Task, accountant: str) -> None:
    noise, batch, epochs = (1.0, 64, 3) if accountant == "rdp" else (8.0, 512, 2)  # prv is quick for few steps only
    changes = {"privacy.accountant": accountant, "privacy.noise_multiplier": noise, "batch_size": batch}
    changes["epochs"] = epochs
    trained = run_of(config_for(digits, **changes), digits)
    examples, reference = len(digits.train[0]), create_accountant(mechanism=accountant)
    steps = math.ceil(examples / batch)
    for epoch in trained.history:
        for _ in range(steps):
            reference.step(noise_multiplier=noise, sample_rate=batch / examples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of orders that it did not try
            spent = reference.get_epsilon(delta=examples**-1.1)
        assert epoch.metrics["epsilon"] == spent
    first, second, *_ = (epoch.metrics["epsilon"] for epoch in trained.history)
    assert 0 < first < second


def test_epsilon_of_a_history_with_several_noises() -> None:
    history = [(1.0, 0.05, 40), (2.0, 0.05, 10), (0.7, 0.1, 3)]
    reference = create_accountant(mechanism="rdp")
    reference.history = list(history)
    assert epsilon_of(history, 1e-5, "rdp") == reference.get_epsilon(delta=1e-5)
    assert epsilon_of([], 1e-5, "rdp") == 0
    assert epsilon_of([(1e6, 0.1, 1)], 1e-2, "rdp") == 0, "whose bound is below 0"


def test_a_target_is_reached_at_the_last_step_and_not_passed(digits: Task) -> None:
    config = config_for(digits, **{"privacy.noise_multiplier": 0.0, "privacy.target_epsilon": 1.0, "epochs": 5})
    trained = run_of(config, digits)
    assert 1.0 - 0.01 <= trained.metrics["epsilon"] <= 1.0
    examples = len(digits.train[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a noise that its search passes on the way
        noise = get_noise_multiplier(
            target_epsilon=1.0,
            target_delta=examples**-1.1,
            sample_rate=64 / examples,
            steps=5 * math.ceil(examples / 64),
            accountant="rdp",
        )
    assert begun(digits, config).ledger.noise == noise


def test_a_delta_of_ones_own(digits: Task) -> None:
    loose = run_of(config_for(digits, **{"privacy.delta": 1e-2, "epochs": 1}), digits).metrics["epsilon"]
    strict = run_of(config_for(digits, **{"privacy.delta": 1e-6, "epochs": 1}), digits).metrics["epsilon"]
    assert 0 < loose < strict


# ---------------------------------------------------------------- sameness


def test_off_is_bit_for_bit_what_it_was(digits: Task) -> None:
    plain = with_paths(TrainingConfig.for_task(digits)(), {"epochs": 2})
    off = with_paths(plain, {"privacy.noise_multiplier": 0.0})
    assert off == plain
    assert "epsilon" not in run_of(off, digits).metrics


def test_interrupted_anywhere_it_ends_with_the_same_bits(digits: Task, tmp_path: Path) -> None:
    task = own(digits)
    config = config_for(task, **{"regularization.ema": 0.9, "optimizer.name": "adamw"})
    whole = Answers()
    expected = train_task(config, task, whole.trial(), "cpu")
    for at in (1, 2):
        store, second = CheckpointFile(tmp_path / f"{at}.pt"), Answers()
        train_task(config, task, Answers({at: Verdict.PUT_BACK}).trial(store), "cpu")
        torch.manual_seed(at)
        again = train_task(config, task, second.trial(store), "cpu")
        assert torch.equal(bits(again), bits(expected))
        assert again.history == expected.history
        assert second.seen == whole.seen


def test_the_accountant_is_in_the_checkpoint(digits: Task, tmp_path: Path) -> None:
    config = config_for(digits)
    store = CheckpointFile(tmp_path / "c.pt")
    train_task(config, digits, Answers({2: Verdict.PUT_BACK}).trial(store), "cpu")
    saved = store.load()
    assert saved is not None
    examples = len(digits.train[0])
    steps = 2 * math.ceil(examples / 64)
    assert saved["privacy"] == {"history": [[1.0, 64 / examples, steps]], "mechanism": "rdp"}


def test_a_network_that_was_trained_can_be_trained_by_others(digits: Task) -> None:
    trained = run_of(config_for(digits, epochs=1), digits)
    x, y = on_device(digits, CPU).splits["train"]
    for _ in range(2):
        nn.functional.cross_entropy(trained.net(x[:8]), y[:8]).backward()
    assert all(parameter.grad is not None and parameter.grad_sample is None for parameter in trained.net.parameters())
