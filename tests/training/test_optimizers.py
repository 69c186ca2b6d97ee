"""Every optimizer against its suite and torch.optim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import Field, ValidationError
from torch import nn, optim

from hpo.errors import UserError
from hpo.testing.optimizers import Layers, OptimizerSuite, Reference, Shapes, equal, gradients
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Rule, TorchRule


class Lion(optim.Optimizer):
    """As in the appendix of arXiv:2302.06675."""

    def __init__(self, params: Any, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": 0.0, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                b1, b2 = group["betas"]
                c = b1 * m + (1 - b1) * p.grad
                p.sub_(group["lr"] * (torch.sign(c) + group["weight_decay"] * p))
                m.copy_(b2 * m + (1 - b2) * p.grad)


class MuonAndAdamW:
    """torch's Muon takes matrices only."""

    def __init__(self, parameters: list[nn.Parameter], **options: Any) -> None:
        decay = options.pop("weight_decay", 0.1)
        matrices = [p for p in parameters if p.dim() == 2]
        self.both = [
            optim.Muon(matrices, weight_decay=decay, **options),
            optim.AdamW([p for p in parameters if p.dim() != 2], weight_decay=decay),
        ]
        self.param_groups = [group for one in self.both for group in one.param_groups]

    def step(self) -> None:
        for one in self.both:
            one.step()


# torch's ASGD takes the learning rate of the step before, its Rprop that of the first step
STEADY = {"asgd", "rprop"}
CASES: list[tuple[dict[str, Any], Any]] = [
    ({"name": "sgd", "momentum": 0.0}, optim.SGD),
    ({"name": "sgd"}, lambda p: optim.SGD(p, momentum=0.9)),
    (
        {"name": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        lambda p: optim.SGD(p, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    ({"name": "sgd", "dampening": 0.3}, lambda p: optim.SGD(p, momentum=0.9, dampening=0.3)),
    ({"name": "adam"}, optim.Adam),
    (
        {"name": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1},
        lambda p: optim.Adam(p, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
    ({"name": "adam", "amsgrad": True}, lambda p: optim.Adam(p, amsgrad=True)),
    ({"name": "adamw"}, optim.AdamW),
    (
        {"name": "adamw", "beta1": 0.7, "weight_decay": 0.3, "amsgrad": True},
        lambda p: optim.AdamW(p, betas=(0.7, 0.999), weight_decay=0.3, amsgrad=True),
    ),
    ({"name": "nadam", "momentum_decay": 0.1}, lambda p: optim.NAdam(p, momentum_decay=0.1)),
    (
        {"name": "nadam", "weight_decay": 0.1, "decoupled": True},
        lambda p: optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True),
    ),
    ({"name": "radam", "weight_decay": 0.1}, lambda p: optim.RAdam(p, weight_decay=0.1)),
    (
        {"name": "radam", "beta2": 0.5, "weight_decay": 0.1, "decoupled": True},
        lambda p: optim.RAdam(p, betas=(0.9, 0.5), weight_decay=0.1, decoupled_weight_decay=True),
    ),
    ({"name": "rmsprop", "weight_decay": 0.1}, lambda p: optim.RMSprop(p, weight_decay=0.1)),
    (
        {"name": "rmsprop", "centered": True, "momentum": 0.7},
        lambda p: optim.RMSprop(p, centered=True, momentum=0.7),
    ),
    ({"name": "adagrad"}, optim.Adagrad),
    (
        {"name": "adagrad", "lr_decay": 0.1, "weight_decay": 0.1, "initial_sum": 0.2},
        lambda p: optim.Adagrad(p, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2),
    ),
    ({"name": "adadelta", "weight_decay": 0.1}, lambda p: optim.Adadelta(p, weight_decay=0.1)),
    ({"name": "adamax", "weight_decay": 0.1}, lambda p: optim.Adamax(p, weight_decay=0.1)),
    ({"name": "asgd", "weight_decay": 0.1}, lambda p: optim.ASGD(p, weight_decay=0.1)),
    ({"name": "rprop"}, lambda p: optim.Rprop(p, step_sizes=(1e-6, 50))),
    ({"name": "adafactor"}, optim.Adafactor),
    (
        {"name": "adafactor", "weight_decay": 0.1, "clip": 1.5, "beta2_decay": -0.6, "smallest_size": 2.0},
        lambda p: optim.Adafactor(p, weight_decay=0.1, d=1.5, beta2_decay=-0.6, eps=(None, 2.0)),
    ),
    ({"name": "muon"}, lambda p: MuonAndAdamW(p, adjust_lr_fn="match_rms_adamw")),
    (
        {"name": "muon", "adjust": "original", "nesterov": False, "iterations": 3, "weight_decay": 0.0},
        lambda p: MuonAndAdamW(p, adjust_lr_fn="original", nesterov=False, ns_steps=3, weight_decay=0.0),
    ),
    ({"name": "lion", "weight_decay": 0.5}, lambda p: Lion(p, (0.9, 0.99), 0.5)),
]
known = {fields["name"] for fields, _ in CASES}
CASES += [({"name": name}, None) for name in optimizers if name not in known]


class TestOptimizers(OptimizerSuite):
    @pytest.fixture(params=CASES, ids=lambda case: "-".join(f"{k}={v}" for k, v in case[0].items()))
    def case(self, request: pytest.FixtureRequest) -> tuple[dict[str, Any], Reference | None]:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def optimizer(self, case: tuple[dict[str, Any], Reference | None]) -> Optimizer:
        return optimizers.parse({"no_decay": "none", **case[0]})

    @pytest.fixture
    def reference(self, case: tuple[dict[str, Any], Reference | None]) -> Reference | None:
        return case[1]

    @pytest.fixture
    def steady(self, optimizer: Optimizer) -> bool:
        return optimizer.name in STEADY


def test_a_plugin_may_use_torch_optim() -> None:
    class Decay(Optimizer):
        """RMSprop, as torch has it."""

        smoothing: float = Field(0.99, ge=0, lt=1, description="decay of the squares")

        def build(self, net: nn.Module) -> Rule:
            return TorchRule(optim.RMSprop(self.torch_groups(net), alpha=self.smoothing), net)

    try:
        optimizers("decay")(Decay)
        fields = {"weight_decay": 0.1, "lr_multipliers": {"head": 3, "norm": 0}}
        ours, theirs = Layers(), Layers()
        rule = optimizers.parse({"name": "decay", **fields}).build(ours)
        own = optimizers.parse({"name": "rmsprop", **fields}).build(theirs)
        for step in range(5):
            numbers = {"lr": 0.02, "weight_decay": 0.05 * step}
            rule.step(gradients(ours, step), numbers)
            own.step(gradients(theirs, step), numbers)
        for p, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, expected)
            assert p.grad is None
        again = optimizers.parse({"name": "decay", **fields}).build(ours)
        again.load_state_dict(rule.state_dict())
        assert again.state_dict()["state"].keys() == rule.state_dict()["state"].keys()
    finally:
        optimizers.remove("decay")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"momentum": 0, "nesterov": True}, "needs a momentum above 0"),
        ({"dampening": 0.1, "nesterov": True}, "needs a dampening of 0"),
        ({"lr_multipliers": {"head": -1}}, "greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_together_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        optimizers.get("sgd").model_validate(fields)


def test_names_kinds_and_patterns_multiply() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 4)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2))
            self.out = nn.Linear(4, 5, bias=False)
            self.out.weight = self.words.weight
            self.steps = nn.Parameter(torch.zeros(3, 3), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.words(x)
            for block in self.blocks:
                x = block(x)
            scores: torch.Tensor = self.out(x)
            return scores

    multipliers = {"blocks": 2.0, "blocks.*.bias": 3.0, "norm": 5.0, "blocks.1": 0.5, "embedding": 7.0, "head": 11.0}
    terms = optimizers.parse({"name": "sgd", "weight_decay": 0.1, "lr_multipliers": multipliers}).terms(Net())
    assert {name: (one.factor, one.decays) for name, one in terms.items()} == {
        "words.weight": (77.0, True),
        "blocks.0.0.weight": (2.0, True),
        "blocks.0.0.bias": (6.0, False),
        "blocks.0.1.weight": (10.0, False),
        "blocks.0.1.bias": (30.0, False),
        "blocks.1.0.weight": (1.0, True),
        "blocks.1.0.bias": (3.0, False),
        "blocks.1.1.weight": (5.0, False),
        "blocks.1.1.bias": (15.0, False),
    }


def test_what_the_model_spares_from_weight_decay_itself_is_spared() -> None:
    class Net(Layers):
        def no_weight_decay(self) -> set[str]:
            return {"0.weight", "gone"}

    entry = optimizers.parse({"name": "adamw", "weight_decay": 0.1})
    assert [name for name, one in entry.terms(Net()).items() if one.decays] == ["2.weight"]
    assert [name for name, one in entry.terms(Layers()).items() if one.decays] == ["0.weight", "2.weight"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "heed",
            r"^optimizer\.lr_multipliers\.heed: means no parameter .*; did you mean 'head'\? \(allowed: 0, 1, 2, bias",
        ),
        ("0.wieght", r"did you mean '0\.weight'\?"),
        ("embedding", r"^optimizer\.lr_multipliers\.embedding: means no parameter"),
    ],
)
def test_a_multiplier_that_means_nothing_is_an_error(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        optimizers.parse({"name": "sgd", "lr_multipliers": {name: 2}}).build(Layers())


def test_decoupled_decay_is_not_seen_by_the_momentum() -> None:
    ours, theirs = Shapes(), Shapes()
    optimizers.parse({"name": "sgd", "decoupled": True, "weight_decay": 0.5, "no_decay": "none"}).build(ours).step(
        gradients(ours, 0), {"lr": 0.1}
    )
    found = gradients(theirs, 0)
    for name, p in theirs.named_parameters():
        p.data.mul_(1 - 0.1 * 0.5).sub_(0.1 * found[name])
    for p, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, expected)


def test_muon_leaves_embeddings_and_the_head_to_adamw() -> None:
    class Net(nn.Sequential):
        def __init__(self) -> None:
            torch.manual_seed(0)
            super().__init__(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5))

    ours, theirs = Net(), Net()
    muon = optimizers.parse({"name": "muon", "weight_decay": 0.01}).build(ours)
    adamw = optimizers.parse({"name": "adamw"}).build(theirs)
    for step in range(3):
        muon.step(gradients(ours, step), {"lr": 0.01})
        adamw.step(gradients(theirs, step), {"lr": 0.01})
        theirs.load_state_dict({name: p for name, p in ours.state_dict().items() if name[0] == "1"}, strict=False)
    assert equal(ours, theirs)
    assert set(muon.state_dict()["slots"]["1.weight"]) == {"velocity"}


def test_sizes_of_muons_steps_are_those_of_adamw() -> None:
    moved = {}
    for name in ("muon", "adamw"):
        torch.manual_seed(0)
        hidden = nn.Linear(64, 96)
        net, before = nn.Sequential(hidden, nn.Linear(96, 3)), hidden.weight.detach().clone()
        optimizers.parse({"name": name, "weight_decay": 0.0}).build(net).step(gradients(net, 0), {"lr": 0.01})
        moved[name] = (hidden.weight - before).square().mean().sqrt().item()
    assert moved["muon"] == pytest.approx(0.2 * moved["adamw"], rel=0.25), "arXiv:2502.16982: AdamW's is 0.2 to 0.4"
