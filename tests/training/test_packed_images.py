"""Convolutions and pooling in a pack: what torch gives for each member alone, in another layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from hpo.schema import check
from hpo.tasks import Task
from hpo.tasks.architectures.cnn import CNN
from hpo.tasks.architectures.resnet18 import ResNet18
from hpo.testing.packs import assert_equal_to_solo
from hpo.training import TrainingConfig, traced
from hpo.training.packed import Pack
from hpo.training.packed_images import channels_side_by_side

CPU = torch.device("cpu")
MEMBERS, BATCH = 3, 5

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (1, 0)},
    "dilated": {"dilation": (2, 1), "padding": (2, 1)},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid"},
    "grouped": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "without bias": {"bias": False},
    "wide": {"kernel_size": (1, 5), "padding": (0, 2)},
}
POOLINGS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "wide, to the end": {"kernel_size": (1, 3), "ceil_mode": True},
    "dilated": {"kernel_size": 2, "stride": 1, "dilation": 2},
}


def convolution(**form: Any) -> nn.Module:
    return nn.Conv2d(4, 8, **{"kernel_size": 3, **form})


def pooling(**form: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(**form))


NETS: dict[str, Callable[[], nn.Module]] = {
    **{f"convolution, {name}": partial(convolution, **form) for name, form in CONVOLUTIONS.items()},
    **{f"pooling, {name}": partial(pooling, **form) for name, form in POOLINGS.items()},
}


def images(*before: int) -> Tensor:
    """With many ties, as images after a ReLU have them."""
    return torch.randn(*before, 4, 9, 9, generator=torch.Generator().manual_seed(0)).relu()


def stacked(net: nn.Module) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {name: torch.randn(MEMBERS, *p.shape, generator=random) for name, p in net.named_parameters()}


def gradients(net: nn.Module) -> Callable[..., Any]:
    """Of one member's numbers and inputs, and what it computes."""

    def loss(weights: dict[str, Tensor], x_B: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.func.functional_call(net, weights, (x_B,))
        return found.square().sum(), found

    return grad_and_value(loss, argnums=(0, 1), has_aux=True)


def assert_close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_the_numbers_of_each_member_alone(name: str) -> None:
    net, x_KB = NETS[name](), images(MEMBERS, BATCH)
    weights_K = stacked(net)
    with channels_side_by_side(CPU):
        (of_weights, of_x), (_, found) = vmap(gradients(net))(weights_K, x_KB)
    assert found.stride()[2] == 1  # channels last, and so not torch's own
    for k in range(MEMBERS):
        (own, own_x), (_, expected) = gradients(net)({name: w[k] for name, w in weights_K.items()}, x_KB[k])
        assert_close(found[k], expected)
        assert_close(of_x[k], own_x)
        for parameter, gradient in own.items():
            assert_close(of_weights[parameter][k], gradient)


def test_with_norms_between_and_more_channels() -> None:
    norms = nn.GroupNorm(2, 8, affine=False), nn.InstanceNorm2d(8), nn.BatchNorm2d(8, track_running_stats=False)
    net = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), *norms, nn.Conv2d(8, 8, 3, bias=False), nn.MaxPool2d(2))
    weights_K, x_KB = stacked(net), images(MEMBERS, BATCH)
    with channels_side_by_side(CPU):
        (found, _), _ = vmap(gradients(net))(weights_K, x_KB)
    for k in range(MEMBERS):
        (expected, _), _ = gradients(net)({name: w[k] for name, w in weights_K.items()}, x_KB[k])
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name][k], gradient, rtol=1e-4, atol=1e-2)


def test_images_or_weights_that_all_members_share() -> None:
    net = nn.Conv2d(4, 8, 3, groups=2)
    weights_K, x_KB = stacked(net), images(MEMBERS, BATCH)
    for over, weights, x in (
        ((0, None), weights_K, x_KB[0]),
        ((None, 0), {n: w[0] for n, w in weights_K.items()}, x_KB),
    ):
        with channels_side_by_side(CPU):
            (of_weights, of_x), (_, found) = vmap(gradients(net), over)(weights, x)
        native = vmap(gradients(net), over)(weights, x)
        assert_close(found, native[1][1])
        assert_close(of_x, native[0][1])
        assert_close(of_weights, native[0][0])


OTHERS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...]]] = {
    "uneven zeros": (lambda x: functional.conv2d(x, torch.ones(1, 4, 2, 2), padding="same"), (BATCH, 4, 9, 9)),
    "one image": (lambda x: functional.conv2d(x, torch.ones(1, 4, 3, 3)), (4, 9, 9)),
    "float64": (lambda x: functional.max_pool2d(x.double(), 2), (BATCH, 4, 9, 9)),
    "one dimension": (lambda x: functional.conv1d(x, torch.ones(2, 4, 3)), (BATCH, 4, 9)),
    "three dimensions": (lambda x: functional.conv3d(x, torch.ones(2, 4, 3, 3, 3)), (BATCH, 4, 9, 9, 9)),
    "one image's pooling": (lambda x: functional.max_pool2d(x, 2), (4, 9, 9)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", OTHERS)
def test_what_it_is_not_for_is_torchs_own(name: str) -> None:
    function, shape = OTHERS[name]
    x_K = torch.randn(MEMBERS, *shape, generator=torch.Generator().manual_seed(0))
    with channels_side_by_side(CPU):
        found = vmap(function)(x_K)
    assert torch.equal(found, vmap(function)(x_K))


def test_one_network_keeps_its_bits_and_torch_its_functions() -> None:
    net, x_B = nn.Sequential(nn.Conv2d(4, 8, 3), nn.MaxPool2d(2)), images(BATCH)
    before = functional.conv2d, functional.max_pool2d
    expected = net(x_B)
    with channels_side_by_side(CPU):
        assert (functional.conv2d, functional.max_pool2d) != before
        assert torch.equal(net(x_B), expected)
    with channels_side_by_side(torch.device("meta")):
        assert (functional.conv2d, functional.max_pool2d) == before
    assert (functional.conv2d, functional.max_pool2d) == before


def test_where_the_largest_number_was() -> None:
    x_KB = images(MEMBERS, BATCH)

    def indices(x_B: Tensor) -> Tensor:
        return functional.max_pool2d(x_B, 2, return_indices=True)[1]

    with channels_side_by_side(CPU):
        found = vmap(indices)(x_KB)
    assert torch.equal(found, vmap(indices)(x_KB))


def test_traced_it_is_one_convolution_of_torch() -> None:
    net, x_KB = nn.Conv2d(4, 8, 3), images(MEMBERS, BATCH)
    weights_K = stacked(net)
    with channels_side_by_side(CPU):
        flat = make_fx(lambda weights, x: vmap(gradients(net))(weights, x))(weights_K, x_KB)
    called = [str(node.target) for node in flat.graph.nodes if node.op == "call_function"]
    assert [name for name in called if "conv" in name] == [
        "aten.convolution.default",
        "aten.convolution_backward.default",
    ]
    (_, (_, found)), (_, (_, expected)) = flat(weights_K, x_KB), vmap(gradients(net))(weights_K, x_KB)
    assert_close(found, expected)


class Normed(nn.Module):
    """Calls a function of torch that cannot read channels last under vmap, and that nobody replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.group_norm(self.first(x), 2)).mean((2, 3))


WHOLE: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(CNN(channels=4, norm=name).build, (1, 8, 8), 3) for name in ("none", "batch", "group")},
    "resnet18": partial(ResNet18(width=4).build, (1, 8, 8), 3),
    "of torch's own layout": lambda: nn.Sequential(Normed(), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "resnet18")) for n in WHOLE])
def test_whole_trainings_of_a_pack_are_those_of_its_members_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "AFTER", 3)
    random = torch.Generator().manual_seed(0)
    x_N, y_N = torch.randn(72, 1, 8, 8, generator=random), torch.randint(3, (72,), generator=random)
    task = Task(train=(x_N[:48], y_N[:48]), val=(x_N[48:], y_N[48:]), model=lambda config: WHOLE[name]())
    own = {"epochs": 3, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.005}}
    configs = [check(TrainingConfig.for_task(task), {**own, "seed": seed}) for seed in range(2)]
    assert_equal_to_solo(configs, task)
    assert Pack(task, configs[0], "cpu")._lays_out_images is (name != "of torch's own layout")
