"""Every regularizer by the effect that defines it; penalties, clipping and dropout are in `test_regularizers.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hpo.errors import UserError
from hpo.testing.networks import Block, Everything, SmallImages
from hpo.testing.strengths import CPU, trained
from hpo.training.anatomy import layers_of
from hpo.training.randomness import Draws
from hpo.training.regularization import Regularization
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Gradients, Now, Slots, Weights, off
from tests.training.test_regularizers import EXAMPLES


def parse(name: str, **fields: Any) -> Regularizer:
    return regularizers.parse({"name": name, **fields})


def now(step: int = 0, seed: int = 0, **values: float) -> Now:
    return Now(step, 10, {f"regularization.{name}": value for name, value in values.items()}, Draws(seed, step, CPU))


def filled(net: nn.Module, *entries: Regularizer) -> Slots:
    slots = off(net, lambda step, metrics: True, outputs=3)
    for entry in entries:
        slots = entry.fill(slots)
    return slots


def penalty_and_gradient(entry: Regularizer, net: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    weights = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    value = filled(net, entry).penalty(weights, torch.tensor(0.0), now())
    found = torch.autograd.grad(value, list(weights.values()), allow_unused=True, materialize_grads=True)
    return value.detach(), dict(zip(weights, found, strict=True))


def test_elastic_net_lies_between_l1_and_a_half_of_the_squares() -> None:
    net = Block(4)
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    value, gradients = penalty_and_gradient(parse("elastic_net", penalty=0.3, l1_ratio=0.25), net)
    assert value.item() == pytest.approx(
        0.3 * (0.25 * weights.abs().sum().item() + 0.375 * weights.square().sum().item())
    )
    for name, p in net.named_parameters():
        torch.testing.assert_close(gradients[name], 0.3 * (0.25 * p.sign() + 0.75 * p).detach())
    l1, _ = penalty_and_gradient(parse("l1", penalty=0.3), net)
    assert penalty_and_gradient(parse("elastic_net", penalty=0.3, l1_ratio=1.0), net)[0].item() == pytest.approx(
        l1.item()
    )


def test_orthogonality_is_the_squared_distance_from_orthonormal() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Conv1d(4, 40, 3))
    with torch.no_grad():
        nn.init.orthogonal_(net[0].weight)
        nn.init.orthogonal_(net[2].weight).mul_(2.0)
    value, gradients = penalty_and_gradient(parse("orthogonality", penalty=0.5), net)
    # 12 orthogonal columns of length 2: W'W - 1 is 3 times the identity
    assert value.item() == pytest.approx(0.5 * 12 * 9, rel=1e-4)
    assert gradients["0.weight"].abs().max().item() < 1e-5
    torch.testing.assert_close(gradients["2.weight"], 0.5 * 4 * 3 * net[2].weight.detach(), rtol=1e-4, atol=1e-4)


def test_spectral_is_half_the_squared_largest_singular_value() -> None:
    torch.manual_seed(0)  # eight iterations come closer to some matrices than to others
    net = nn.Sequential(nn.Linear(30, 20), nn.Conv1d(20, 5, 3))
    matrices = [net[0].weight.detach(), net[1].weight.detach().flatten(1)]
    parts = [torch.linalg.svd(matrix) for matrix in matrices]
    value, gradients = penalty_and_gradient(parse("spectral", penalty=0.2, iterations=300), net)
    assert value.item() == pytest.approx(0.1 * sum(s[0].item() ** 2 for _, s, _ in parts), rel=1e-4)
    for name, (u, s, v) in zip(("0.weight", "1.weight"), parts, strict=True):
        torch.testing.assert_close(gradients[name].flatten(1), 0.2 * s[0] * u[:, :1] @ v[:1], rtol=1e-2, atol=1e-4)
    few, _ = penalty_and_gradient(parse("spectral", penalty=0.2), net)
    assert 0.85 * value < few <= value * (1 + 1e-5), "never more than it is"


def test_values_of_gradients_are_cut_off() -> None:
    gradients = {"w": torch.tensor([-3.0, -0.2, 0.0, 0.1, 5.0])}
    slots = filled(Block(4), parse("gradient_clipping_value", largest=0.5))
    _, cut = slots.gradient(lambda weights: (torch.tensor(1.0), gradients), {}, now())
    assert torch.equal(cut["w"], torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.5]))


@pytest.mark.parametrize("step", [0, 9])
def test_gradient_noise_has_the_variance_of_its_step(step: int) -> None:
    net = nn.Linear(300, 300)
    zeros = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    slots = filled(net, parse("gradient_noise", eta=0.3, gamma=0.55))
    _, noisy = slots.gradient(lambda weights: (torch.tensor(1.0), zeros), {}, now(step))
    n = noisy["weight"].numel()
    assert noisy["weight"].var().item() == pytest.approx(0.3 / (1 + step) ** 0.55, rel=5 * (2 / n) ** 0.5)
    assert abs(noisy["weight"].mean().item()) < 5 * (0.3 / n) ** 0.5
    assert not torch.equal(noisy["weight"][0], noisy["bias"])


def test_sam_is_the_gradient_at_the_perturbed_point_with_norms_counted_once() -> None:
    torch.manual_seed(0)
    net, x, y = SmallImages(), torch.randn(16, 1, 4, 4), torch.randint(0, 3, (16,))
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}

    def compute(weights: Weights) -> tuple[torch.Tensor, Gradients]:
        at = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
        buffers = {name: b.clone() for name, b in net.named_buffers()}
        loss = nn.functional.cross_entropy(torch.func.functional_call(net, {**at, **buffers}, (x,)), y)
        return loss.detach(), dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

    value, sharp = filled(net, parse("sam", rho=0.05)).gradient(compute, weights, now())
    plain_value, plain = compute(weights)
    norm = torch.cat([g.flatten() for g in plain.values()]).norm()
    _, expected = compute({name: w + 0.05 * plain[name] / norm for name, w in weights.items()})
    assert torch.equal(value, plain_value), "what is reported is the loss at the weights"
    for name, gradient in sharp.items():
        torch.testing.assert_close(gradient, expected[name])
    clip = filled(net, parse("gradient_clipping", max_norm=0.01), parse("sam", rho=0.05))
    _, clipped = clip.gradient(compute, weights, now())
    assert torch.cat([g.flatten() for g in clipped.values()]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_sam_counts_the_statistics_of_norms_once_a_step() -> None:
    sharp: Any = trained(Regularization({"sam": parse("sam", rho=0.05)})).net
    plain: Any = trained(Regularization()).net
    assert sharp.norm.num_batches_tracked == plain.norm.num_batches_tracked == 3 * 5


def test_max_norm_bounds_the_incoming_weights_of_every_unit() -> None:
    net = Everything()
    slots = filled(net, parse("max_norm", largest=0.3))
    weights = dict(net.named_parameters())
    with torch.no_grad():
        held = slots.bound(weights, now())
    moved = 0
    for layer in layers_of(net):
        for weight in layer.weights:
            before, after = weight.of(weights).flatten(1).detach(), weight.of(held).flatten(1)
            norms = before.norm(dim=1, keepdim=True)
            torch.testing.assert_close(after, before * (0.3 / norms).clamp(max=1.0))
            assert after.norm(dim=1).max().item() <= 0.3 + 1e-5
            moved += int((norms > 0.3).sum())
    assert moved > 20
    kept = {name for name in weights if "bias" in name or "norm" in name or "words" in name}
    assert all(held[name] is weights[name] for name in kept)
    run: Any = trained(Regularization({"max_norm": parse("max_norm", largest=0.3)})).net
    assert run.head.weight.norm(dim=1).max().item() <= 0.3 + 1e-6
    with pytest.raises(UserError, match=r"^regularization\.max_norm: 0\.3 has no effect"):
        filled(nn.LayerNorm(3), parse("max_norm", largest=0.3))


def test_mixups_loss_is_the_convex_combination() -> None:
    x, y, scores = torch.randn(9, 5), torch.randint(0, 3, (9,)), torch.randn(9, 3)
    mixed_x, shares = filled(Block(4), parse("mixup", alpha=0.7)).mix(x, y, now(3))
    draws = now(3).draws
    share, partner = draws.beta("mixup.share", 0.7, 0.7), draws.permutation("mixup.partner", 9)
    assert 0 < share < 1
    assert sorted(partner.tolist()) == list(range(9))
    torch.testing.assert_close(mixed_x, share * x + (1 - share) * x[partner])
    loss = nn.functional.cross_entropy
    expected = share * loss(scores, y) + (1 - share) * loss(scores, y[partner])
    torch.testing.assert_close(loss(scores, shares), expected)
    floats = torch.randn(9, 2)
    _, mixed = filled(Block(4), parse("mixup", alpha=0.7)).mix(x, floats, now(3))
    torch.testing.assert_close(mixed, share * floats + (1 - share) * floats[partner])


def test_mixups_share_follows_its_beta() -> None:
    shares = torch.stack([now(step).draws.beta("mixup.share", 0.4, 0.4) for step in range(3000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=5 * (1 / (4 * 1.8) / 3000) ** 0.5)
    assert shares.var().item() == pytest.approx(1 / (4 * 1.8), rel=0.1)


@settings(max_examples=50, deadline=None)
@given(step=st.integers(0, 10_000), shape=st.sampled_from([(1, 8, 8), (3, 7, 12), (2, 9), (1, 4, 5, 6)]))
def test_cutmix_pastes_one_box_and_mixes_targets_by_its_area(step: int, shape: tuple[int, ...]) -> None:
    x = torch.arange(6.0).view(6, *[1] * len(shape)).expand(6, *shape).contiguous()  # an image is its own number
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    pasted, shares = filled(Block(4), parse("cutmix", alpha=1.0)).mix(x, y, now(step))
    partner = now(step).draws.permutation("cutmix.partner", 6)
    foreign = (pasted != x).flatten(2).any(0).any(0).view(shape[1:])
    area = foreign.float().mean()
    for i in range(6):
        own = torch.full(shape, float(i))
        assert torch.equal(pasted[i], torch.where(foreign, float(partner[i]), own))
        expected = (1 - area) * nn.functional.one_hot(y[i], 3) + area * nn.functional.one_hot(y[partner[i]], 3)
        torch.testing.assert_close(shares[i], expected)
    if foreign.any():  # all places between the first and the last in every direction: a box
        places = foreign.nonzero()
        assert len(places) == (places.max(0).values - places.min(0).values + 1).prod()


def test_cutmix_needs_places_and_mixing_needs_floats() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(
        UserError, match=r"^regularization\.cutmix: needs inputs with channels and places, found .*\(5,\)"
    ):
        filled(Block(4), parse("cutmix", alpha=1.0)).mix(torch.randn(4, 5), y, now())
    for name in ("cutmix", "mixup", "input_noise"):
        entry = regularizers.parse({"name": name, **EXAMPLES[name]})
        with pytest.raises(UserError, match=rf"^regularization\.{name}: needs inputs that are floats"):
            filled(Block(4), entry).mix(torch.ones(4, 1, 3, dtype=torch.int64), y, now())


def test_input_noise_has_its_deviation_and_is_another_one_at_every_step() -> None:
    slots = filled(Block(4), parse("input_noise", std=0.3))
    first, second = (slots.mix(torch.zeros(200, 50), torch.zeros(200), now(step))[0] for step in (0, 1))
    assert first.std().item() == pytest.approx(0.3, rel=5 * (0.5 / first.numel()) ** 0.5)
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].abs() < 5 / first.numel() ** 0.5


def test_a_schedules_value_takes_the_place_of_the_main_field() -> None:
    x = torch.zeros(100, 50)
    slots = filled(Block(4), parse("input_noise", std=0.3))
    louder, _ = slots.mix(x, x, now(input_noise=0.6))
    torch.testing.assert_close(louder, 2 * slots.mix(x, x, now())[0])
    mixed, _ = filled(Block(4), parse("mixup", alpha=0.5)).mix(torch.randn(9, 5), x[:9], now(mixup=0.0))
    assert mixed.isfinite().all(), "an alpha that a schedule brings to 0 mixes nothing"
