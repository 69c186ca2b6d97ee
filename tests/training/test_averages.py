"""Averages of the weights: closed forms, norm statistics, and what is evaluated and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.testing.networks import SmallImages
from hpo.testing.strengths import CPU, bits, config_for, image_task, trained
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, evaluate, train_task
from hpo.training.averages import measure_norms
from hpo.training.randomness import Draws
from hpo.training.regularization import Regularization
from hpo.training.regularizers import regularizers
from hpo.training.slots import Average, Now, off

STEPS = 12


def walk(net: nn.Module, average: Average, steps: int = STEPS) -> list[torch.Tensor]:
    """Random steps of a network's weights and buffers; the first weights and those after each step."""
    generator = torch.Generator().manual_seed(0)
    seen = [flat(net)]
    for step in range(steps):
        with torch.no_grad():
            for value in (*net.parameters(), *net.buffers()):
                if value.is_floating_point():
                    value.add_(torch.randn(value.shape, generator=generator).abs())
                else:
                    value.add_(1)
        average.update(dict(net.named_parameters()), Now(step, steps, {}, Draws(0, step, CPU)))
        seen.append(flat(net))
    return seen


def flat(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in net.parameters()])


def average_of(net: nn.Module, *entries: dict[str, Any]) -> Average:
    slots = off(net, lambda step, metrics: True, outputs=3)
    for entry in entries:
        slots = regularizers.parse(entry).fill(slots)
    return slots.average


def test_ema_equals_its_closed_form() -> None:
    net = SmallImages()
    average = average_of(net, {"name": "ema", "decay": 0.8, "warmup": False})
    seen = walk(net, average)
    expected = 0.8**STEPS * seen[0] + sum(0.2 * 0.8 ** (STEPS - t) * seen[t] for t in range(1, STEPS + 1))
    torch.testing.assert_close(flat(average.shadow), expected)


def test_ema_warms_up_by_the_step() -> None:
    net = SmallImages()
    average = average_of(net, {"name": "ema", "decay": 0.8})
    seen = walk(net, average)
    expected = seen[0]
    for step in range(STEPS):
        kept = min(0.8, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * seen[step + 1]
    torch.testing.assert_close(flat(average.shadow), expected)


def test_ema_averages_norm_statistics_and_copies_counts() -> None:
    net = SmallImages()
    average = average_of(net, {"name": "ema", "decay": 0.5, "warmup": False})
    means = [net.norm.running_mean.clone()]  # type: ignore[union-attr]
    for _ in range(3):
        walk(net, average, 1)
        means.append(net.norm.running_mean.clone())  # type: ignore[union-attr]
    shadow: Any = average.shadow
    expected = sum(share * mean for share, mean in zip((0.125, 0.125, 0.25, 0.5), means, strict=True))
    torch.testing.assert_close(shadow.norm.running_mean, expected)
    assert shadow.norm.num_batches_tracked.item() == 3


@pytest.mark.parametrize(
    ("last", "every", "taken"), [(0.5, 1, range(7, 13)), (0.5, 2, (7, 9, 11)), (1.0, 1, range(1, 13))]
)
def test_swa_is_the_mean_of_the_last_weights(last: float, every: int, taken: Any) -> None:
    net = SmallImages()
    average = average_of(net, {"name": "swa", "last": last, "every": every})
    seen = walk(net, average)
    torch.testing.assert_close(flat(average.shadow), torch.stack([seen[t] for t in taken]).mean(0))


def test_swa_is_the_weights_themselves_until_it_begins() -> None:
    run, plain = (
        trained(Regularization({"swa": regularizers.parse({"name": "swa", "last": 0.34})})),
        trained(Regularization()),
    )
    assert run.history[:2] == plain.history[:2]
    assert run.history[2] != plain.history[2]


def test_swa_beside_ema_averages_the_average() -> None:
    net = SmallImages()
    both: Any = average_of(net, {"name": "ema", "decay": 0.7}, {"name": "swa", "last": 0.5})
    seen = []
    for step in range(STEPS):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(float(step + 1))
        both.update(dict(net.named_parameters()), Now(step, STEPS, {}, Draws(0, step, CPU)))
        seen.append(flat(both.before.shadow))
    torch.testing.assert_close(flat(both.shadow), torch.stack(seen[6:]).mean(0))


def test_norm_statistics_are_those_of_the_training_inputs() -> None:
    net, x = SmallImages(), torch.randn(50, 1, 4, 4)
    measure_norms(net, x)
    seen = net.image(x).detach()
    torch.testing.assert_close(net.norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(net.norm.running_var, seen.transpose(0, 1).flatten(1).var(1))
    assert net.training
    assert net.norm.momentum == 0.1


def test_a_swa_evaluation_has_statistics_of_its_own_weights() -> None:
    config = config_for(Regularization({"swa": regularizers.parse({"name": "swa", "last": 0.67})}))
    task = image_task()
    net: Any = train_task(config, task, Answers().trial(), "cpu").net
    seen = net.image(torch.as_tensor(task.train[0])).detach()
    torch.testing.assert_close(net.norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_what_is_evaluated_and_kept_is_the_average(name: str, tmp_path: Path) -> None:
    entry = {"ema": {"decay": 0.9}, "swa": {"last": 1.0}}[name]
    section = Regularization({name: regularizers.parse({"name": name, **entry})})
    config, task, store = config_for(section), image_task(), CheckpointFile(tmp_path / "c.pt")
    run = train_task(config, task, Answers().trial(store, checkpoint_every=0.0), "cpu")
    found = evaluate(run.net, config, task, "val", "cpu")
    assert found == {metric: run.metrics[metric] for metric in found}
    saved = store.load()
    assert saved is not None
    shadow = saved["average"]["shadow"]
    assert all(torch.equal(value, shadow[key]) for key, value in run.net.state_dict().items())
    assert not all(torch.equal(value, saved["net"][key]) for key, value in run.net.state_dict().items())
    plain = trained(Regularization())
    assert [p.metrics["train_loss"] for p in run.history] == [p.metrics["train_loss"] for p in plain.history]
    assert not torch.equal(bits(run), bits(plain))
