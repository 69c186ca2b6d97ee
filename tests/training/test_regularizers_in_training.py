"""What regularizers do to a whole training: its end, its branches, and any two of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.testing.networks import Block, SmallImages
from hpo.testing.strengths import CPU, bits, config_for, image_task, trained
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Verdict, train_task
from hpo.training.randomness import Draws
from hpo.training.regularization import Regularization
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Now, off
from tests.training.test_regularizers import EXAMPLES

PAIRS = list(combinations(regularizers, 2))


def parse(name: str, **fields: Any) -> Regularizer:
    return regularizers.parse({"name": name, **(fields or EXAMPLES.get(name, {}))})


@settings(max_examples=25, deadline=None)
@given(pair=st.sampled_from(PAIRS))
def test_any_two_train_together(pair: tuple[str, str]) -> None:
    run = trained(Regularization({name: parse(name) for name in pair}), epochs=2)
    assert len(run.history) == 2
    assert all(math.isfinite(value) for progress in run.history for value in progress.metrics.values())
    assert bits(run).isfinite().all()


def test_all_of_them_train_together_and_resume() -> None:
    everything = Regularization({name: parse(name) for name in regularizers if name != "early_stopping"})
    first, again = trained(everything), trained(everything)
    assert bits(first).isfinite().all()
    assert torch.equal(bits(first), bits(again))


WORSE = {1: 0.9, 2: 0.5, 3: 0.6, 4: 0.45, 5: 0.45, 6: 0.47, 7: 0.449, 8: 0.3}


def epochs_until_the_end(values: Mapping[int, float], **fields: Any) -> int:
    reports: list[int] = []

    def report(step: int, metrics: Mapping[str, float]) -> bool:
        reports.append(step)
        return True

    watch = parse("early_stopping", **fields).fill(off(Block(4), report, 3)).report
    for step, value in values.items():
        if not watch(step, {"val_loss": value, "val_accuracy": -value}):
            break
    return len(reports)


@pytest.mark.parametrize(
    ("fields", "epochs"),
    [
        ({"patience": 1}, 3),
        ({"patience": 2}, 6),
        ({"patience": 3}, 8),
        ({"patience": 3, "min_delta": 0.01}, 7),
        ({"patience": 2, "metric": "val_accuracy", "mode": "max"}, 6),
        ({"patience": 2, "metric": "val_accuracy"}, 3),
    ],
)
def test_patience_counts_epochs_since_the_last_improvement(fields: dict[str, Any], epochs: int) -> None:
    assert epochs_until_the_end(WORSE, **fields) == epochs


def test_a_training_that_stops_early_is_complete_with_all_its_reports() -> None:
    section = Regularization({"early_stopping": parse("early_stopping", patience=2, metric="train_loss", mode="max")})
    answers = Answers()
    trial = answers.trial()
    run = train_task(config_for(section, epochs=9), image_task(), trial, "cpu")
    assert trial.verdict is Verdict.GO_ON, "nobody stopped it"
    assert [progress.step for progress in answers.seen] == [1, 2, 3]
    assert run.history == tuple(answers.seen)


def test_patience_goes_on_where_a_resumed_training_was(tmp_path: Path) -> None:
    section = Regularization({"early_stopping": parse("early_stopping", patience=3, metric="train_loss", mode="max")})
    config, store = config_for(section, epochs=9), CheckpointFile(tmp_path / "c.pt")
    train_task(config, image_task(), Answers({3: Verdict.PUT_BACK}).trial(store), "cpu")
    assert len(train_task(config, image_task(), Answers().trial(store), "cpu").history) == 4
    done = Answers()
    train_task(config, image_task(), done.trial(store), "cpu")
    assert [progress.step for progress in done.seen] == [1, 2, 3, 4], "nothing is trained beyond the end"


def test_an_unknown_metric_is_named() -> None:
    section = Regularization({"early_stopping": parse("early_stopping", patience=2, metric="val_acuracy")})
    pattern = r"^regularization\.early_stopping\.metric: unknown metric .*'val_acuracy'; did you mean 'val_accuracy'"
    with pytest.raises(UserError, match=pattern):
        trained(section)


class DropPath(nn.Module):
    """As timm has it: leaves out examples at random."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0 or not self.training:
            return x
        return x * torch.rand(len(x), 1).ge(self.drop_prob) / (1 - self.drop_prob)


class Loops(nn.Module):
    """Blocks that no tracer gets through, with a DropPath."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop_path = nn.Linear(4, 4), DropPath(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.inner(x)) if x.sum() < 1e9 else x


def forward(net: nn.Module, entry: Regularizer, x: Tensor, step: int = 0) -> Tensor:
    """The network's output within a step of training."""
    entry.prepare(net)
    slots = entry.fill(off(net, lambda step, metrics: True, 3))
    found: list[Tensor] = []

    def compute(weights: Any) -> Any:
        found.append(net(x))
        return torch.tensor(0.0), {}

    slots.gradient(compute, {}, Now(step, 10, {}, Draws(0, step, CPU)))
    return found[0].detach()


@pytest.mark.parametrize("net", [Block(4), nn.Sequential(Loops())], ids=["branch", "drop_path"])
def test_stochastic_depth_leaves_branches_out_for_each_example(net: nn.Module) -> None:
    x = torch.randn(4000, 4)
    alone = net.eval()(x).detach() - x
    branch = forward(net.train(), parse("stochastic_depth", rate=0.3), x) - x
    kept = (branch.abs().sum(1) > 0).float()
    assert kept.mean().item() == pytest.approx(0.7, abs=5 * (0.21 / 4000) ** 0.5)
    torch.testing.assert_close(branch, kept[:, None] * alone / 0.7, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.eval()(x).detach() - x, alone)


@pytest.mark.parametrize(("decay", "rates"), [("linear", [0.2, 0.4]), ("uniform", [0.4, 0.4])])
def test_earlier_branches_are_left_out_less_often(decay: str, rates: list[float]) -> None:
    net = nn.Sequential(Block(4), Block(4))
    for block in net:
        nn.init.zeros_(block.out.weight)  # type: ignore[arg-type, union-attr]
    nn.init.constant_(net[0].out.bias, 1.0)  # type: ignore[arg-type, union-attr]
    nn.init.constant_(net[1].out.bias, 100.0)  # type: ignore[arg-type, union-attr]
    x = torch.zeros(4000, 4)
    out = forward(net, parse("stochastic_depth", rate=0.4, decay=decay), x)[:, 0]
    second = out >= 100
    first = (out - second * 100 / (1 - rates[1])).abs() > 0.5
    for seen, rate in zip((first, second), rates, strict=True):
        assert 1 - seen.float().mean().item() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 4000) ** 0.5)


def test_rates_of_drop_path_modules_are_replaced_or_kept() -> None:
    net = nn.Sequential(Loops(), Block(4))
    parse("stochastic_depth", rate=0.0).prepare(net)
    assert net[0].drop_path.drop_prob == 0.0  # type: ignore[union-attr]
    with pytest.raises(
        UserError, match=r"^regularization\.stochastic_depth: 0\.2 has no effect, the model has no resid"
    ):
        parse("stochastic_depth", rate=0.2).prepare(nn.Linear(2, 2))


def test_branches_of_one_network_are_left_out_independently_and_anew_at_every_step() -> None:
    net, x = SmallImages().train(), torch.randn(50, 1, 4, 4)
    entry = parse("stochastic_depth", rate=0.5, decay="uniform")
    entry.prepare(net)
    slots = entry.fill(off(net, lambda step, metrics: True, 3))
    seen: list[Tensor] = []
    for place in net.blocks:
        place.out.register_forward_hook(lambda module, args, out: seen.append((out.abs().sum(1) > 0).float()))  # type: ignore[union-attr]

    def compute(weights: Any) -> Any:
        net(x)
        return torch.tensor(0.0), {}

    for step in (0, 0, 1):
        slots.gradient(compute, {}, Now(step, 10, {}, Draws(0, step, CPU)))
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert len({tuple(mask.tolist()) for mask in (seen[0], seen[1], seen[4], seen[5])}) == 4
