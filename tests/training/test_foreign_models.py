"""Models of other hands, given by `my_task.py:make_task`: all that is ours reaches them with no edit.

A module of a user's own, timm's ResNet-18 on small images, and Hugging Face's GPT-2 from a config.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.sweep import Sweep
from hpo.tasks import Task
from hpo.testing.packs import assert_equal_to_solo
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Trained, TrainingConfig, Verdict, train_task, with_paths
from hpo.training.loop import build
from hpo.training.packed import Pack
from hpo.training.randomness import seeded
from hpo.training.shape import Unpackable

STEPS = 6

TASKS = {
    "own": """
import torch
from torch import nn

import hpo


class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.words = nn.Embedding(5, width)
        self.image = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.1))
        self.body = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Dropout(0.2))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        word = self.words((x[:, 0, 0, 0].abs() * 10).long() % 5)
        return self.head(self.body(self.image(x).mean((2, 3)) + word))


def make_task():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 1, 8, 8, generator=random), torch.randint(3, (60,), generator=random)
    return hpo.Task(train=(x[:48], y[:48]), val=(x[48:], y[48:]), model=lambda config: Own(config["width"]))
""",
    "timm": """
import timm
import torch

import hpo


def model(config):
    channels = [config["width"] * factor for factor in (1, 1, 2, 2)]
    return timm.create_model("resnet18", num_classes=3, in_chans=1, channels=channels)


def make_task():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 1, 32, 32, generator=random), torch.randint(3, (60,), generator=random)
    return hpo.Task(train=(x[:48], y[:48]), val=(x[48:], y[48:]), model=model)
""",
    "gpt2": """
import torch
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification

import hpo


class Scores(nn.Module):  # the library's models return more than scores
    def __init__(self, config):
        super().__init__()
        self.gpt2 = GPT2ForSequenceClassification(config)

    def forward(self, x):
        return self.gpt2(x).logits


def model(config):
    return Scores(
        GPT2Config(
            vocab_size=64, n_positions=8, n_embd=config["width"], n_layer=2, n_head=2, num_labels=3,
            pad_token_id=0, bos_token_id=0, eos_token_id=0,
        )
    )


def make_task():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randint(1, 64, (60, 8), generator=random), torch.randint(3, (60,), generator=random)
    return hpo.Task(train=(x[:48], y[:48]), val=(x[48:], y[48:]), model=model)
""",
}


@dataclass(frozen=True)
class Foreign:
    """A task of somebody else's, and the base configuration that its sweep file gives it."""

    name: str
    task: Task
    base: TrainingConfig

    def config(self, **paths: Any) -> TrainingConfig:
        """With some of its paths changed."""
        return with_paths(self.base, {path.replace("__", "."): value for path, value in paths.items()})

    def net(self, **paths: Any) -> nn.Module:
        """As it begins to train."""
        config, place = self.config(**paths), torch.device("cpu")
        with seeded(config.seed, place) as random:
            random.start("weights")
            return build(config, self.task, place)[0]

    def train(self, config: TrainingConfig, store: CheckpointFile | None = None, until: int | None = None) -> Trained:
        """Trained; put back after `until`."""
        verdicts = {} if until is None else {until: Verdict.PUT_BACK}
        return train_task(config, self.task, Answers(verdicts).trial(store), "cpu")


@pytest.fixture(scope="module", params=TASKS)
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    (folder / "my_task.py").write_text(TASKS[request.param])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sweep = Sweep.from_dict(
        {
            "name": request.param,
            "task": "my_task.py:make_task",
            "space": {"optimizer.lr": {"low": 1e-3, "high": 0.1, "log": True}},
            "objective": {"metric": "val_accuracy", "direction": "maximize"},
            "budget": {"trials": 1},
            "base": {
                "model": {"width": 16},
                "epochs": STEPS,
                "batch_size": 48,
                "optimizer": {"name": "sgd", "lr": 0.05},
            },
        },
        folder,
    )
    job = sweep.trained.job((), sweep.goals)
    task = job.make()
    yield Foreign(request.param, task, job.config_for(task))
    torch.set_num_threads(threads)


def matrix(module: nn.Module) -> Tensor | None:
    """The weight of a linear or convolution layer as (out, in); None for any other module."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        return module.weight.flatten(1)
    return module.weight.T if type(module).__name__ == "Conv1D" else None


def test_an_initializer_fills_every_kind_of_layer_by_its_rule(foreign: Foreign) -> None:
    rules = {"initializer__bias": "zero", "initializer__embedding_std": 0.5, "initializer__norm": "one"}
    net = foreign.net(initializer="orthogonal", **rules)
    seen = []
    for module in net.modules():
        weight = matrix(module)
        if weight is not None:
            small = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
            torch.testing.assert_close(small, torch.eye(len(small)), rtol=0, atol=1e-5)
        elif isinstance(module, nn.Embedding):
            assert module.weight.std().item() == pytest.approx(0.5, rel=0.25)
        elif "Norm" in type(module).__name__:
            assert torch.equal(module.weight, torch.ones_like(module.weight))
        else:
            continue
        seen.append(type(module).__name__)
        assert getattr(module, "bias", None) is None or not module.bias.any()
    expected = {
        "own": {"Conv2d": 1, "Linear": 2, "Embedding": 1, "BatchNorm2d": 1, "LayerNorm": 1},
        "timm": {"Conv2d": 21, "Linear": 1, "BatchNorm2d": 21},
        "gpt2": {"Conv1D": 8, "Linear": 1, "Embedding": 2, "LayerNorm": 5},
    }[foreign.name]
    assert {name: seen.count(name) for name in set(seen)} == expected
    again, other = (
        foreign.net(initializer="orthogonal", **rules),
        foreign.net(initializer="orthogonal", seed=1, **rules),
    )
    assert same(net.state_dict(), again.state_dict())
    assert not same(net.state_dict(), other.state_dict())


def same(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def factor(step: int, warmup: int = 2) -> float:
    """Linear warmup, then half a cosine; written anew."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))


def by_hand(net: nn.Module, task: Task, spare_vectors: bool) -> nn.Module:
    """`net` after the same training in plain torch, all examples in each step."""
    decayed = [p for p in net.parameters() if p.dim() > 1 or not spare_vectors]
    spared = [p for p in net.parameters() if p.dim() == 1 and spare_vectors]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    x, y = task.train
    net.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * factor(step)
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def apart(one: nn.Module, two: nn.Module) -> float:
    """The largest distance of two numbers that they hold, parameters and buffers."""
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def test_schedule_weight_decay_and_batch_norm_are_those_of_plain_torch(foreign: Foreign) -> None:
    changes = {
        "schedule": {"name": "cosine", "warmup_steps": 2},
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 0.1,
        "regularization__dropout": 0.0,
    }
    start = foreign.net(**changes)
    trained = foreign.train(foreign.config(**changes)).net
    assert apart(trained, by_hand(copy.deepcopy(start), foreign.task, spare_vectors=True)) < 1e-4
    assert apart(trained, by_hand(copy.deepcopy(start), foreign.task, spare_vectors=False)) > 1e-3, "decay is seen"
    norms = [module for module in trained.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == {"own": 1, "timm": 21, "gpt2": 0}[foreign.name]
    for norm in norms:
        assert norm.num_batches_tracked == STEPS
        assert norm.running_mean is not None
        assert norm.running_mean.abs().max() > 1e-3


def test_the_dropout_rate_is_set_wherever_the_model_drops(foreign: Foreign) -> None:
    net = foreign.net(regularization__dropout=0.4)
    rates = [m.p for m in net.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    rates += [m.drop_rate for m in net.modules() if hasattr(m, "drop_rate")]
    assert rates == [0.4] * {"own": 2, "timm": 1, "gpt2": 7}[foreign.name]
    x = foreign.task.train[0]
    assert not torch.equal(net(x), net(x)), "while it trains"
    off = foreign.net(regularization__dropout=0.0)
    assert torch.equal(off(x), off(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("foreign", ["gpt2"], indirect=True)
def test_the_attention_of_gpt2_drops_too(foreign: Foreign) -> None:
    net = foreign.net(regularization__dropout=0.4)
    others = [
        (name, m) for name, m in net.named_modules() if isinstance(m, nn.Dropout) and not name.endswith("attn_dropout")
    ]
    assert len(others) == 5
    for _, module in others:
        module.p = 0.0
    x = foreign.task.train[0]
    assert not torch.equal(net(x), net(x))


def test_a_resumed_run_is_bit_for_bit_an_uninterrupted_one(foreign: Foreign, tmp_path: Path) -> None:
    config = foreign.config(
        schedule={"name": "cosine", "warmup_steps": 3},
        optimizer={"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        regularization__dropout=0.3,
        batch_size=20,
    )
    whole = foreign.train(config)
    store = CheckpointFile(tmp_path / "c.pt")
    foreign.train(config, store, until=2)
    resumed = foreign.train(config, store)
    assert same(whole.net.state_dict(), resumed.net.state_dict())
    assert whole.history == resumed.history
    assert len(whole.history) == STEPS
    other = foreign.train(with_paths(config, {"regularization.dropout": 0.0}))
    assert whole.history != other.history, "dropout is seen"


DROPPING = [{"regularization__dropout": rate} for rate in (0.1, 0.3)]
PACKS: list[tuple[str, list[dict[str, Any]], str | None]] = [
    ("own", DROPPING, None),
    ("timm", [{}, {}], None),
    ("timm", DROPPING, "computes something else as a stack"),  # its rate is a plain number when it drops
    ("gpt2", [{}, {}], "does not run as a stack"),  # it looks for the last word that is no padding
]


@pytest.mark.slow
@pytest.mark.parametrize(("foreign", "own", "why"), PACKS, indirect=["foreign"])
def test_members_of_a_pack_train_as_they_would_alone(
    foreign: Foreign, own: list[dict[str, Any]], why: str | None
) -> None:
    rates = (0.002, 0.005)
    configs = [foreign.config(seed=k, epochs=3, batch_size=16, optimizer__lr=rates[k], **own[k]) for k in range(2)]
    if why is None:
        assert_equal_to_solo(configs, foreign.task)
    else:
        with pytest.raises(Unpackable, match=why):
            Pack(foreign.task, configs[0], "cpu")
