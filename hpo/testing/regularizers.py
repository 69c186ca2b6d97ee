"""What every regularizer must do, as a class of tests to inherit.

class TestMine(RegularizerSuite):
    @pytest.fixture
    def regularizer(self) -> Regularizer:
        return regularizers.get("mine")(strength=0.5)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.tasks import Task
from hpo.testing.entries import EntrySuite
from hpo.testing.networks import SmallImages
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Trained, TrainingConfig, Verdict, train_task, with_paths
from hpo.training.randomness import Draws
from hpo.training.regularization import Regularization
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Gradients, Now, Slots, Weights, off

CPU = torch.device("cpu")


def small_task() -> Task:
    """200 random points of three classes."""
    rng = np.random.default_rng(0)
    x_NP = rng.normal(size=(200, 6)).astype(np.float32)
    y_N = (x_NP[:, :3]).argmax(axis=1)
    return Task(train=(x_NP[:150], y_N[:150]), val=(x_NP[150:], y_N[150:]))


def image_task() -> Task:
    """120 random images of three classes for a small network with a convolution, norms, dropout and two branches."""
    rng = np.random.default_rng(0)
    x_N = rng.normal(size=(120, 1, 4, 4)).astype(np.float32)
    y_N = x_N[:, 0, 0, :3].argmax(axis=1)
    return Task(train=(x_N[:80], y_N[:80]), val=(x_N[80:], y_N[80:]), model=_small_images)


def _small_images(config: Mapping[str, Any]) -> nn.Module:  # noqa: ARG001
    return SmallImages()


def config_for(regularization: Regularization, epochs: int = 3) -> TrainingConfig:
    """A short training of `image_task`."""
    kind = TrainingConfig.for_task(image_task())
    return with_paths(kind(epochs=epochs, batch_size=16, regularization=regularization), {"optimizer.lr": 0.01})


def trained(regularization: Regularization, epochs: int = 3) -> Trained:
    """The short training."""
    return train_task(config_for(regularization, epochs), image_task(), Answers().trial(), device="cpu")


def bits(run: Trained) -> Tensor:
    """All that a network holds, buffers too, and what was reported."""
    held = [value.double().flatten() for value in run.net.state_dict().values()]
    reported = [torch.tensor(list(progress.metrics.values())).double() for progress in run.history]
    return torch.cat([*held, *reported])


@lru_cache(maxsize=1)
def without() -> Tensor:
    """The bits of the short training without any regularizer."""
    return bits(trained(Regularization()))


class RegularizerSuite(EntrySuite):
    """Tests of one regularizer entry; a subclass gives it, with a strength that matters, as `regularizer`."""

    registry = regularizers

    @pytest.fixture
    def regularizer(self) -> Regularizer:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, regularizer: Regularizer) -> Regularizer:
        """The same, for the tests of any entry."""
        return regularizer

    @pytest.fixture
    def on(self, regularizer: Regularizer) -> Regularization:
        """A section with the entry alone."""
        return Regularization({regularizer.name: regularizer})

    def test_is_off_unless_its_main_field_is_set(self, regularizer: Regularizer) -> None:
        assert type(regularizer)().strength == 0
        assert regularizer.strength > 0

    def test_off_trains_as_if_it_were_absent(self, regularizer: Regularizer) -> None:
        section = Regularization({regularizer.name: type(regularizer)()})
        assert torch.equal(bits(trained(section)), without())

    def test_on_changes_the_training_the_same_way_each_time(self, on: Regularization) -> None:
        first, again = bits(trained(on)), bits(trained(on))
        assert torch.equal(first, again)
        assert not (first.shape == without().shape and torch.equal(first, without()))

    def test_a_resumed_training_ends_with_the_same_bits(self, on: Regularization, tmp_path: Path) -> None:
        config, task = config_for(on, epochs=4), image_task()
        whole = train_task(config, task, Answers().trial(), "cpu")
        for at in range(1, len(whole.history)):
            store = CheckpointFile(tmp_path / f"{at}.pt")
            train_task(config, task, Answers({at: Verdict.PUT_BACK}).trial(store), "cpu")
            torch.manual_seed(at)  # whatever else draws numbers in this process
            again = train_task(config, task, Answers().trial(store), "cpu")
            assert torch.equal(bits(again), bits(whole)), f"stopped after epoch {at}"

    def test_is_written_by_its_main_field_alone(self, regularizer: Regularizer) -> None:
        number = getattr(regularizer, regularizer.main)
        section = Regularization.parse({regularizer.name: number})
        assert section[regularizer.name].strength == regularizer.strength
        assert section == Regularization.parse({regularizer.name: {regularizer.main: number}})
        assert section == Regularization.parse(section.dump())

    def test_is_the_mathematics_of_one_member_which_a_pack_maps(self, regularizer: Regularizer) -> None:
        if not regularizer.packable:
            assert regularizer.reason
            return
        assert not regularizer.reason
        net = SmallImages()
        slots = regularizer.fill(off(net, _goes_on, outputs=3))
        member = one_step(net, slots, f"regularization.{regularizer.name}" if moves(regularizer) else None)
        members = [inputs(net, k, regularizer.strength * (1 - 0.1 * k)) for k in range(3)]
        stacked = torch.vmap(member)(*[_stack([args[i] for args in members]) for i in range(len(members[0]))])
        for k, args in enumerate(members):
            alone = member(*args)
            for name, value in alone.items():
                torch.testing.assert_close(stacked[name][k], value, rtol=1e-4, atol=1e-5, msg=lambda m: f"{name}: {m}")  # noqa: B023


def moves(regularizer: Regularizer) -> bool:
    """Whether its main field may be moved by a schedule, and differ between members."""
    return type(regularizer).model_fields[regularizer.main].json_schema_extra == OVER_TIME


def inputs(net: nn.Module, member: int, strength: float) -> tuple[Any, ...]:
    """(weights, buffers, images, classes, seed, step, strength) of one member of a pack."""
    generator = torch.Generator().manual_seed(member)
    weights = {name: p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    x_B, y_B = torch.randn(8, 1, 4, 4, generator=generator), torch.randint(0, 3, (8,), generator=generator)
    return weights, buffers, x_B, y_B, torch.tensor(member + 5), torch.tensor(3 + member), torch.tensor(strength)


def one_step(net: nn.Module, slots: Slots, path: str | None) -> Any:
    """A step of plain gradient descent through the slots, as a function of tensors alone."""

    def step(weights: Any, buffers: Any, x_B: Tensor, y_B: Tensor, seed: Tensor, t: Tensor, strength: Tensor) -> Any:
        now = Now(t, 10, {path: strength} if path else {}, Draws(seed, t, CPU))
        x_B, y_B = slots.mix(x_B, y_B, now)

        def loss(weights: Weights) -> tuple[Tensor, Tensor]:
            scores = torch.func.functional_call(net, {**weights, **{n: b.clone() for n, b in buffers.items()}}, (x_B,))
            value = nn.functional.cross_entropy(scores, y_B)
            return slots.penalty(weights, value, now), value

        def compute(weights: Weights) -> tuple[Tensor, Gradients]:
            gradients, value = torch.func.grad(loss, has_aux=True)(dict(weights))
            return value, gradients

        value, gradients = slots.gradient(compute, weights, now)
        moved = slots.bound({name: weight - 0.1 * gradients[name] for name, weight in weights.items()}, now)
        share = slots.average.share(now) if hasattr(slots.average, "share") else 0.0
        return {"loss": value, "share": torch.as_tensor(share), **moved}

    return step


def _goes_on(step: int, metrics: Mapping[str, float]) -> bool:  # noqa: ARG001
    return True


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: torch.stack([value[name] for value in values]) for name in values[0]}
    return torch.stack(values)
