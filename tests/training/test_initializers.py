"""Every initializer against its suite and its formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from hpo.errors import UserError
from hpo.schema import check
from hpo.testing.initializers import InitializerSuite, drawn
from hpo.testing.networks import Block, Everything
from hpo.training import TrainingConfig
from hpo.training.initializers import Initializer, initializers

# for a Linear(400, 900): fan in 400, fan out 900
VARIANCES: dict[str, float | None] = {
    "kaiming_normal": 2 / 400,
    "kaiming_uniform": 2 / 400,
    "xavier_normal": 2 / (400 + 900),
    "xavier_uniform": 2 / (400 + 900),
    "lecun_normal": 1 / 400,
    "orthogonal": 1 / 900,  # 400 orthonormal columns of length 900
    "truncated_normal": 0.02**2 * stats.truncnorm(-2, 2).var(),
    "sparse": 0.1 * 0.01**2,
    "gpt2": 0.02**2,
    "fixup": 2 / 400,
    "default": 1 / (3 * 400),  # uniform within 1/sqrt(fan in)
}


class TestInitializers(InitializerSuite):
    @pytest.fixture(params=list(initializers))
    def initializer(self, request: pytest.FixtureRequest) -> Initializer:
        return initializers.parse(request.param)

    @pytest.fixture
    def variance(self, initializer: Initializer) -> float | None:
        return VARIANCES.get(initializer.name)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parse(name: str, **fields: Any) -> Initializer:
    return initializers.parse({"name": name, **fields})


init = nn.init
TORCH: list[tuple[str, dict[str, Any], Any]] = [
    (
        f"kaiming_{kind}",
        {"mode": mode, "nonlinearity": after, **({"negative_slope": 0.3} if "leaky" in after else {})},
        lambda w, g, kind=kind, mode=mode, after=after: getattr(init, f"kaiming_{kind}_")(w, 0.3, mode, after, g),
    )
    for kind in ("normal", "uniform")
    for mode in ("fan_in", "fan_out")
    for after in ("leaky_relu", "relu", "tanh", "selu")
]
TORCH += [
    ("xavier_normal", {"gain": 2.0}, lambda w, g: init.xavier_normal_(w, 2.0, g)),
    ("xavier_uniform", {"gain": 0.5}, lambda w, g: init.xavier_uniform_(w, 0.5, g)),
    ("lecun_normal", {}, lambda w, g: init.kaiming_normal_(w, nonlinearity="linear", generator=g)),
    ("orthogonal", {"gain": 3.0}, lambda w, g: init.orthogonal_(w, 3.0, g)),
    ("truncated_normal", {"std": 0.1, "cut": 1.0}, lambda w, g: init.trunc_normal_(w, 0, 0.1, -0.1, 0.1, g)),
    ("gpt2", {"std": 0.3}, lambda w, g: init.normal_(w, 0, 0.3, g)),
    ("fixup", {}, lambda w, g: init.kaiming_normal_(w, generator=g)),
]  # fmt: skip


def _name(value: Any) -> str:
    """The same in every process, as an address is not."""
    return "" if callable(value) else str(value)


@pytest.mark.parametrize(("name", "fields", "reference"), TORCH, ids=_name)
@settings(max_examples=12, deadline=None)
@given(shape=st.lists(st.integers(1, 7), min_size=2, max_size=5))
def test_fills_as_torch_does_on_any_shape(name: str, fields: dict[str, Any], reference: Any, shape: list[int]) -> None:
    ours, theirs = torch.empty(shape), torch.empty(shape)
    parse(name, **fields).fill_groups(ours, 1, generator())
    reference(theirs, generator())
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "variance"), [("kaiming_uniform", 2 / 400), ("xavier_uniform", 2 / 1300)])
def test_uniform_stays_within_its_bounds_and_reaches_them(name: str, variance: float) -> None:
    layer, bound = nn.Linear(400, 900), math.sqrt(3 * variance)
    parse(name).apply(layer, 0)
    assert layer.weight.abs().max().item() <= bound
    assert layer.weight.abs().max().item() > 0.999 * bound


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (16, 4, 3, 3)])
def test_orthogonal_rows_or_columns_are_orthogonal(shape: tuple[int, ...]) -> None:
    weight = torch.empty(shape)
    parse("orthogonal", gain=2.0).fill(weight, generator())
    matrix = weight.flatten(1)
    small = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(small, 4 * torch.eye(len(small)), atol=1e-5, rtol=0)


def test_the_gates_of_a_recurrent_layer_and_the_parts_of_attention_are_drawn_one_by_one() -> None:
    net = nn.ModuleDict({"lstm": nn.LSTM(12, 6), "attention": nn.MultiheadAttention(6, 2)})
    parse("orthogonal").apply(net, 0)
    parts = [
        *net["lstm"].weight_hh_l0.chunk(4),  # type: ignore[union-attr, operator]
        *net["attention"].in_proj_weight.chunk(3),  # type: ignore[union-attr, operator]
    ]
    for part in parts:
        torch.testing.assert_close(part @ part.T, torch.eye(6), atol=1e-5, rtol=0)
    assert len({part[0, 0].item() for part in parts}) == 7


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 30), columns=st.integers(1, 30), sparsity=st.floats(0, 0.99))
def test_sparse_sets_the_same_number_of_zeros_in_each_column(rows: int, columns: int, sparsity: float) -> None:
    weight = torch.empty(rows, columns)
    parse("sparse", sparsity=sparsity, std=2.0).fill(weight, generator())
    assert ((weight == 0).sum(0) == math.ceil(sparsity * rows)).all()


def test_dirac_and_identity_pass_their_input_on() -> None:
    x = torch.randn(2, 6, 5, 5)
    convolution = nn.Conv2d(6, 6, 3, padding=1, groups=2)
    parse("dirac").apply(convolution, 0)
    torch.testing.assert_close(convolution(x), x)
    back = nn.ConvTranspose2d(6, 6, 3, padding=1, groups=2)
    parse("dirac", gain=2.0).apply(back, 0)
    torch.testing.assert_close(back(x), 2 * x)
    linear = nn.Linear(5, 5)
    parse("identity").apply(linear, 0)
    torch.testing.assert_close(linear(x), x)


def test_bias_rules() -> None:
    born = drawn(parse("default"), 0)
    zero, constant = drawn(parse("kaiming_normal"), 0), drawn(parse("orthogonal", bias="constant", bias_value=0.5), 0)
    kept = drawn(parse("xavier_normal", bias="default"), 0)
    for name in ("image.0.bias", "blocks.1.out.bias", "attended.attention.in_proj_bias", "gates.bias_hh_l0"):
        assert not zero[name].any()
        assert (constant[name] == 0.5).all()
        assert torch.equal(kept[name], born[name])
    assert not drawn(parse("default", bias="zero"), 0)["head.bias"].any()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"bias_value": 0.5}, "bias_value: 0.5 has no effect unless bias is 'constant'"),
        ({"negative_slope": 0.1, "nonlinearity": "tanh"}, "negative_slope: 0.1 has no effect with 'tanh'"),
    ],
)
def test_a_field_without_effect_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^initializer: {sentence}"):
        check(TrainingConfig, {"initializer": {"name": "kaiming_normal", **fields}})


@pytest.mark.parametrize("name", ["default", "kaiming_normal"])
def test_rules_for_embeddings_norms_and_the_head_stand_in_every_entry(name: str) -> None:
    plain = drawn(parse(name), 0)
    net = Everything()
    nn.init.constant_(net.image[1].weight, 7.0)  # type: ignore[arg-type, index]
    nn.init.constant_(net.norm.bias, 7.0)  # type: ignore[arg-type]
    ruled = drawn(parse(name, embedding_std=0.3, norm="one", head_scale=0.5), 0, net)
    assert (ruled["image.1.weight"] == 1).all()
    assert not ruled["norm.bias"].any()
    assert not ruled["words.weight"][0].any(), "the padding's row"
    assert ruled["words.weight"][1:].std().item() == pytest.approx(0.3, rel=0.3)
    if name != "default":
        assert torch.equal(ruled["head.weight"], 0.5 * plain["head.weight"])
        assert torch.equal(ruled["blocks.0.out.weight"], plain["blocks.0.out.weight"])
    again = drawn(parse(name, embedding_std=0.3), 0)
    assert torch.equal(again["words.weight"], ruled["words.weight"])


def test_residual_branches_end_at_zero_or_are_scaled_by_their_number() -> None:
    ends = {"blocks.0.out", "blocks.1.out", "attended.out"}
    plain = drawn(parse("kaiming_normal", bias="constant", bias_value=0.1), 0)
    zero = drawn(parse("kaiming_normal", bias="constant", bias_value=0.1, residual="zero"), 0)
    deep = drawn(parse("kaiming_normal", bias="constant", bias_value=0.1, residual="depth"), 0)
    for name, value in plain.items():
        layer, _, kind = name.rpartition(".")
        assert torch.equal(zero[name], value * (layer not in ends)), name
        factor = 3**-0.5 if layer in ends and kind == "weight" else 1.0
        torch.testing.assert_close(deep[name], value * factor)


def test_a_zero_residual_network_of_blocks_is_the_identity() -> None:
    blocks, x = nn.Sequential(Block(8), Block(8)), torch.randn(3, 8)
    parse("kaiming_normal", residual="zero").apply(blocks, 0)
    assert torch.equal(blocks(x), x)


def test_gpt2_scales_residual_projections_by_the_root_of_their_number() -> None:
    net = nn.Sequential(nn.Embedding(50, 64), *[Block(64) for _ in range(4)], nn.Linear(64, 50))
    parse("gpt2").apply(net, 0)
    assert net[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert net[2].inner.weight.std().item() == pytest.approx(0.02, rel=0.05)  # type: ignore[union-attr]
    assert net[2].out.weight.std().item() == pytest.approx(0.02 / math.sqrt(4), rel=0.05)  # type: ignore[union-attr]


def test_fixup_scales_the_inner_layers_of_branches_and_ends_them_and_the_head_at_zero() -> None:
    net = nn.Sequential(nn.Linear(64, 64), *[Block(64) for _ in range(9)], nn.Linear(64, 5))
    parse("fixup").apply(net, 0)
    he = math.sqrt(2 / 64)
    assert net[0].weight.std().item() == pytest.approx(he, rel=0.05)
    assert net[4].inner.weight.std().item() == pytest.approx(he * 9 ** (-1 / 2), rel=0.05)  # type: ignore[union-attr]
    assert not net[4].out.weight.any()  # type: ignore[union-attr]
    assert not net[10].weight.any()


@pytest.mark.parametrize(
    ("name", "net", "sentence"),
    [
        ("gpt2", nn.Linear(2, 2), r"^initializer\.residual: depth has no effect, the model has no residual branch"),
        ("fixup", nn.Linear(2, 2), r"^initializer\.residual: zero has no effect"),
        ("dirac", nn.Linear(2, 2), r"^initializer: dirac fills convolution layers, and the model has none"),
        ("identity", nn.Conv1d(2, 2, 1), r"^initializer: identity fills linear and recurrent layers"),
        ("kaiming_normal", nn.LayerNorm(3), r"^initializer: kaiming_normal fills convolution and linear and recurrent"),
    ],
)  # fmt: skip
def test_an_initializer_that_finds_nothing_to_do_says_so(name: str, net: nn.Module, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse(name).apply(net, 0)


def test_a_tied_weight_is_filled_once_and_is_no_head_of_its_own() -> None:
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    net[1].weight = net[0].weight
    with pytest.raises(UserError, match=r"^initializer\.head_scale: 0\.0 cannot be used, 1 shares its weight"):
        parse("default", head_scale=0.0).apply(net, 0)
    parse("default", embedding_std=0.5).apply(net, 0)
    assert net[1].weight is net[0].weight
