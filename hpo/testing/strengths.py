"""What every regularizer and augmentation must do: the tests that their suites share, and the trainings they use."""

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
from hpo.training.slots import OVER_TIME, Gradients, Now, Slots, Weights, off
from hpo.training.strengths import Strength, Strengths

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


def config_for(section: Strengths[Any], epochs: int = 3) -> TrainingConfig:
    """A short training of `image_task` with one section."""
    fields: dict[str, Any] = {section.title: section}
    config = TrainingConfig.for_task(image_task())(epochs=epochs, batch_size=16, **fields)
    return with_paths(config, {"optimizer.lr": 0.01})


def trained(section: Strengths[Any], epochs: int = 3) -> Trained:
    """The short training."""
    return train_task(config_for(section, epochs), image_task(), Answers().trial(), device="cpu")


def bits(run: Trained) -> Tensor:
    """All that a network holds, buffers too, and what was reported."""
    held = [value.double().flatten() for value in run.net.state_dict().values()]
    reported = [torch.tensor(list(progress.metrics.values())).double() for progress in run.history]
    return torch.cat([*held, *reported])


@lru_cache(maxsize=1)
def without() -> Tensor:
    """The bits of the short training without any regularizer."""
    return bits(trained(Regularization()))


class StrengthSuite(EntrySuite):
    """Tests of one entry with a strength that matters, which a subclass gives as `strength`, of its `section`."""

    section: type[Strengths[Any]]

    @pytest.fixture
    def strength(self) -> Strength:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, strength: Strength) -> Strength:
        """The same, for the tests of any entry."""
        return strength

    @pytest.fixture
    def on(self, strength: Strength) -> Strengths[Any]:
        """A section with the entry alone."""
        return self.section({strength.name: strength})

    def test_is_off_unless_its_main_field_is_set(self, strength: Strength) -> None:
        assert type(strength)().strength == 0
        assert strength.strength > 0

    def test_off_trains_as_if_it_were_absent(self, strength: Strength) -> None:
        section = self.section({strength.name: type(strength)()})
        assert torch.equal(bits(trained(section)), without())

    def test_on_changes_the_training_the_same_way_each_time(self, on: Strengths[Any]) -> None:
        first, again = bits(trained(on)), bits(trained(on))
        assert torch.equal(first, again)
        assert not (first.shape == without().shape and torch.equal(first, without()))

    def test_a_resumed_training_ends_with_the_same_bits(self, on: Strengths[Any], tmp_path: Path) -> None:
        config, task = config_for(on, epochs=4), image_task()
        whole = train_task(config, task, Answers().trial(), "cpu")
        for at in range(1, len(whole.history)):
            store = CheckpointFile(tmp_path / f"{at}.pt")
            train_task(config, task, Answers({at: Verdict.PUT_BACK}).trial(store), "cpu")
            torch.manual_seed(at)  # whatever else draws numbers in this process
            again = train_task(config, task, Answers().trial(store), "cpu")
            assert torch.equal(bits(again), bits(whole)), f"stopped after epoch {at}"

    def test_is_written_by_its_main_field_alone(self, strength: Strength) -> None:
        number = getattr(strength, strength.main)
        section = self.section.parse({strength.name: number})
        assert section[strength.name].strength == strength.strength
        assert section == self.section.parse({strength.name: {strength.main: number}})
        assert section == self.section.parse(section.dump())

    def test_is_the_mathematics_of_one_member_which_a_pack_maps(self, strength: Strength) -> None:
        if not strength.packable:
            assert strength.reason
            return
        assert not strength.reason
        net = SmallImages()
        slots = strength.fill(off(net, _goes_on, outputs=3))
        member = one_step(net, slots, f"{strength.section}.{strength.name}" if moves(strength) else None)
        members = [inputs(net, k, strength.strength * (1 - 0.1 * k)) for k in range(3)]
        stacked = torch.vmap(member)(*[_stack([args[i] for args in members]) for i in range(len(members[0]))])
        for k, args in enumerate(members):
            alone = member(*args)
            for name, value in alone.items():
                torch.testing.assert_close(stacked[name][k], value, rtol=1e-4, atol=1e-5, msg=lambda m: f"{name}: {m}")  # noqa: B023


def moves(entry: Strength) -> bool:
    """Whether its main field may be moved by a schedule, and differ between members."""
    return type(entry).model_fields[entry.main].json_schema_extra == OVER_TIME


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
