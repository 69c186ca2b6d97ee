"""Packs: a member trains as it would alone, whoever its neighbours are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.schema import check
from hpo.tasks import Task
from hpo.testing.packs import assert_equal_to_solo, packed, train_pack
from hpo.testing.strengths import image_task, small_task
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, TrainingConfig, Verdict, traced, train_task
from hpo.training.initializers import initializers
from hpo.training.losses import losses
from hpo.training.metrics import metrics
from hpo.training.optimizers import optimizers
from hpo.training.packed import Pack
from hpo.training.regularizers import regularizers
from hpo.training.schedules import schedules
from hpo.training.shape import Unpackable, shape_of
from tests.training.test_regularizers import EXAMPLES

ONCE: dict[str, Any] = {"epochs": 3, "batch_size": 16}


def members(task: Task, *own: dict[str, Any], **common: Any) -> list[TrainingConfig]:
    """Configs with seeds of their own."""
    kind = TrainingConfig.for_task(task)
    return [check(kind, {**ONCE, **common, "seed": seed, **fields}) for seed, fields in enumerate(own)]


def packable(registry: Any) -> list[str]:
    return [name for name, entry in registry.entries.items() if entry.packable]


@pytest.fixture
def traced_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps as they are, the others traced."""
    monkeypatch.setattr(traced, "AFTER", 3)


@pytest.mark.usefixtures("traced_soon")
@pytest.mark.parametrize("name", packable(optimizers))
def test_every_optimizer(name: str) -> None:
    lr = type(optimizers.parse(name))().lr
    own = [{"optimizer": {"name": name, "lr": lr * f, "weight_decay": 0.1 * f}} for f in (1.0, 0.25)]
    assert_equal_to_solo(members(small_task(), *own), small_task())


@pytest.mark.usefixtures("traced_soon")
@pytest.mark.parametrize("name", [name for name in packable(regularizers) if name != "early_stopping"])
def test_every_regularizer_on_a_network_with_norms_and_branches(name: str) -> None:
    fields = EXAMPLES[name]
    main = regularizers.entries[name].main
    halved = {**fields, main: fields[main] / 2} if name != "swa" else fields
    own = [{"regularization": {name: halved}}, {"regularization": {name: fields}}]
    # not Adam: a bias before a norm has no gradient but rounding, which Adam would make a whole step of
    configs = members(image_task(), *own, optimizer={"name": "sgd", "lr": 0.05})
    if name == "swa":  # and batch norms
        with pytest.raises(Unpackable, match="batch norms"):
            packed(configs, image_task())
        configs = members(small_task(), *own)
    assert_equal_to_solo(configs, small_task() if name == "swa" else image_task())


@pytest.mark.usefixtures("traced_soon")
@pytest.mark.parametrize("name", packable(losses))
def test_every_loss(name: str) -> None:
    task = dataclasses.replace(small_task(), loss=name) if losses.entries[name].classes else _floats(name)
    numbers = [n for n, info in losses.entries[name].model_fields.items() if info.annotation is float]
    own = [{"loss": {"name": name, **dict.fromkeys(numbers, value)}} for value in (0.25, 0.75)]
    assert_equal_to_solo(members(task, *own), task)


def _floats(loss: str) -> Task:
    rng = np.random.default_rng(0)
    x_NP, y_N1 = rng.normal(size=(120, 6)).astype(np.float32), rng.uniform(size=(120, 1)).astype(np.float32)
    return Task(train=(x_NP[:80], y_N1[:80]), val=(x_NP[80:], y_N1[80:]), loss=loss, metrics=("mae",))


STEPS: dict[str, dict[str, Any]] = {"multistep": {"milestones": [0.5]}}


def test_members_with_all_schedules_and_initializers_side_by_side() -> None:
    named = [{"schedule": {"name": name, **STEPS.get(name, {})}} for name in schedules]
    fitting = [n for n in packable(initializers) if "linear" in initializers.entries[n].kinds]
    drawn = [{"initializer": name} for name in fitting if initializers.parse(name).residual == "default"]
    assert_equal_to_solo(members(small_task(), *named, *drawn), small_task())


TOP_2 = {"name": "top_k", "k": 2}


@pytest.mark.parametrize("classes", [True, False])
def test_every_metric(classes: bool) -> None:
    fitting = [name for name in packable(metrics) if metrics.entries[name].classes is classes]
    task = dataclasses.replace(
        small_task() if classes else _floats("mse"),
        metrics=tuple(TOP_2 if name == "top_k" else name for name in fitting),
    )
    assert_equal_to_solo(members(task, {}, {}), task)


def test_values_over_time() -> None:
    schedule = {"optimizer.weight_decay": "linear", "regularization.dropout": {"name": "cosine"}}
    own = [
        {"schedules": schedule, "regularization": {"dropout": 0.4}, "optimizer": {"name": "sgd", "weight_decay": 0.2}},
        {"regularization": {"dropout": 0.0}, "optimizer": {"name": "sgd", "lr": 1e-3}},
    ]
    assert_equal_to_solo(members(image_task(), *own), image_task())


def test_bfloat16() -> None:
    configs = members(small_task(), {}, {}, precision="bfloat16")
    assert_equal_to_solo(configs, small_task(), tolerance=2e-2)


def test_groups_of_parameters_and_learning_rates_by_name() -> None:
    common = {"name": "adamw", "weight_decay": 0.5, "lr_multipliers": {"head": 0.1, "bias": 2.0}}
    assert_equal_to_solo(members(small_task(), {}, {}, optimizer=common), small_task())


@pytest.mark.usefixtures("traced_soon")
def test_members_come_and_go_at_their_own_epochs() -> None:
    task = small_task()
    configs = members(task, {"epochs": 5}, {"epochs": 1}, {"epochs": 3}, {"epochs": 4}, schedule="cosine")
    pack = Pack(task, configs[0], "cpu")
    found = [pack.admit(config, Answers().trial()) for config in configs[:2]]
    waiting = configs[2:]
    while pack.members:
        pack.epoch()
        for member in list(pack.members):
            if not member.deliver():
                pack.leave(member)
                if waiting:
                    found.append(pack.admit(waiting.pop(0), Answers().trial()))
    for member, config in zip(found, configs, strict=True):
        solo = train_task(config, task, Answers().trial(), "cpu")
        expected = [progress.metrics["val_loss"] for progress in solo.history]
        assert [report["val_loss"] for report in member.history.reports] == pytest.approx(expected, rel=1e-4)


def test_neither_place_nor_neighbours_change_a_bit() -> None:
    task = small_task()
    one, *others = members(
        task, {}, *[{"optimizer": {"lr": lr}} for lr in (1e-3, 1e-2, 1e-4)], regularization={"mixup": 0.3}
    )
    first = packed([one, *others], task)[0]
    last = packed([others[1], others[0], others[1], one], task)[-1]
    assert first.history.reports == last.history.reports
    for a, b in zip(first.run.net.parameters(), last.run.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_member_that_diverges_names_its_batch_and_disturbs_nobody() -> None:
    task = small_task()
    sound, other, broken = members(task, {}, {}, {"optimizer": {"name": "sgd", "lr": 1e30}}, optimizer={"name": "sgd"})
    ill = packed([sound, broken, other], task)
    well = packed([sound, other, other], task)
    assert ill[0].history.reports == well[0].history.reports
    assert ill[2].history.reports == well[1].history.reports
    assert str(ill[1].diverged).startswith("diverged: train_loss is nan at step 1 (batch ")


def test_a_member_whose_loss_is_too_large_is_the_only_one_to_end() -> None:
    ends = packed(members(small_task(), {"largest_loss": 1e-3}, {}), small_task())
    assert "above largest_loss: 0.001" in str(ends[0].diverged)
    assert [len(member.history.reports) for member in ends] == [0, 3]


def test_a_member_that_stops_early_says_so() -> None:
    own = [{"regularization": {"early_stopping": {"patience": 1, "metric": "train_loss", "mode": "max"}}}, {}]
    ends = packed(members(small_task(), *own), small_task())
    assert [len(member.history.reports) for member in ends] == [2, 3]
    assert [member.trial.verdict for member in ends] == [Verdict.GO_ON, Verdict.GO_ON]


@pytest.mark.parametrize("name", packable(optimizers))
def test_a_checkpoint_is_the_same_solo_and_packed(name: str, tmp_path: Path) -> None:
    task = image_task()
    config, neighbour = members(
        task, {}, {}, optimizer={"name": name, "lr": 1e-3}, epochs=4, regularization={"ema": 0.9, "dropout": 0.2}
    )
    whole = train_task(config, task, Answers().trial(), "cpu").history
    store = CheckpointFile(tmp_path / "solo.pt")
    train_task(config, task, Answers({2: Verdict.PUT_BACK}).trial(store), "cpu")
    pack = Pack(task, config, "cpu")
    member = pack.admit(config, Answers({3: Verdict.PUT_BACK}).trial(store))
    pack.admit(neighbour, Answers().trial())
    assert [step for step, _ in member.unreported] == [1, 2]
    assert member.deliver()
    pack.epoch()
    assert not member.deliver()  # saved, packed
    again = train_task(config, task, Answers().trial(store), "cpu").history
    assert len(again) == 4
    for found, expected in zip(again, whole, strict=True):
        assert found.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=1e-3)


@pytest.mark.parametrize("regularization", [{}, {"ema": 0.9, "swa": 0.5, "dropout": 0.2, "mixup": 0.2}])
def test_the_only_member_trains_as_it_would_alone(regularization: dict[str, float]) -> None:
    task = small_task()
    (config,) = members(task, {"regularization": regularization})
    (member,) = packed([config], task)
    alone = train_task(config, task, Answers().trial(), "cpu")
    assert member.history.reports == [dict(progress.metrics) for progress in alone.history]
    for name, value in alone.net.state_dict().items():
        assert torch.equal(member.run.slots.average.shadow.state_dict()[name], value)


def test_a_resumed_pack_ends_with_the_same_bits(tmp_path: Path) -> None:
    task = image_task()
    configs = members(task, {}, {}, epochs=4, regularization={"ema": 0.9, "dropout": 0.2, "mixup": 0.2})
    whole = packed(configs, task)
    stores = [CheckpointFile(tmp_path / f"{number}.pt") for number in range(2)]
    for verdicts in ({2: Verdict.PUT_BACK}, {}):
        pack = Pack(task, configs[0], "cpu")
        found = [pack.admit(c, Answers(verdicts).trial(s)) for c, s in zip(configs, stores, strict=True)]
        going = [member for member in found if member.deliver()]
        assert going == found
        train_pack(pack)
    for member, expected in zip(found, whole, strict=True):
        assert member.history.reports == expected.history.reports


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"precision": "float16"}, "precision: float16"),
        ({"accumulate": 2}, "accumulate"),
        ({"native_dropout": True}, "native_dropout"),
        ({"optimizer": "muon"}, "optimizer: muon trains by itself, its iterations"),
    ],
)
def test_what_trains_by_itself_says_why(fields: dict[str, Any], why: str) -> None:
    (config,) = members(small_task(), fields)
    with pytest.raises(Unpackable, match=why):
        shape_of(config)


DIFFER: list[tuple[dict[str, Any], bool]] = [
    ({"epochs": 9, "schedule": "cosine", "initializer": "orthogonal"}, True),
    ({"optimizer": {"lr": 0.5, "beta1": 0.5}}, True),
    ({"regularization": {"early_stopping": 3}}, True),
    ({"regularization": {"mixup": 0.0}}, True),
    ({"batch_size": 8}, False),
    ({"optimizer": {"amsgrad": True}}, False),
    ({"optimizer": "sgd"}, False),
    ({"model": {"width": 32}}, False),
    ({"regularization": {"mixup": 0.1}}, False),
    ({"loss": "focal"}, False),
    ({"precision": "bfloat16"}, False),
]


@pytest.mark.parametrize(("fields", "same"), DIFFER)
def test_members_agree_on_what_is_built_and_differ_in_numbers(fields: dict[str, Any], same: bool) -> None:
    plain, other = members(small_task(), {}, fields)
    assert (shape_of(plain) == shape_of(other)) is same


def test_strengths_differ_where_both_are_on() -> None:
    shapes = [
        shape_of(members(small_task(), {"regularization": r})[0])
        for r in ({"mixup": 0.1, "dropout": 0.0}, {"mixup": 0.2, "dropout": 0.3})
    ]
    assert shapes[0] == shapes[1]


def test_a_traced_step_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    regularization = {"dropout": 0.2, "sam": 0.05, "ema": 0.9, "mixup": 0.2, "max_norm": 1.0, "gradient_clipping": 0.5}
    configs = members(image_task(), {}, {}, regularization=regularization)
    plain = packed(configs, image_task())
    monkeypatch.setattr(traced, "AFTER", 0)
    for member, expected in zip(packed(configs, image_task()), plain, strict=True):
        assert member.history.reports == expected.history.reports
        for a, b in zip(member.run.net.parameters(), expected.run.net.parameters(), strict=True):
            assert torch.equal(a, b)
