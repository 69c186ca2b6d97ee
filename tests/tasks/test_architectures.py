"""Each architecture by what defines it, and all of them in packs, initializers and rules about weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import Task, models, tasks
from hpo.tasks.layers import Activation, activation, image_norm
from hpo.testing.packs import assert_equal_to_solo
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task, with_paths
from hpo.training.kinds import parameter_kinds, undecayed
from hpo.training.packed import Pack
from hpo.training.residual import branches_of, head_of

VARIANTS: list[dict[str, Any]] = [
    {"name": "mlp", "norm": "batch", "activation": "silu", "depth": 2},
    {"name": "mlp", "norm": "layer", "activation": "tanh"},
    {"name": "cnn", "norm": "batch", "activation": "elu", "depth": 3},
    {"name": "cnn", "norm": "group", "activation": "leaky_relu", "channels": 2},
    {"name": "resnet18", "width": 4, "depth": 1},
    {"name": "resnet18", "width": 4, "depth": 1, "norm": "group", "activation": "gelu"},
    {"name": "transformer", "width": 8, "heads": 2},
    {"name": "transformer", "width": 8, "heads": 2, "depth": 1, "norm_first": False, "causal": False, "norm": "rms"},
]


def built(raw: dict[str, Any], shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    return models.parse(raw).build(shape, 3)


def task_for(model: str) -> Task:
    rng = np.random.default_rng(0)
    shape = (6, 8) if model == "transformer" else (1, 8, 8)
    x_N = rng.normal(size=(88, *shape)).astype(np.float32)
    y_N = x_N.reshape(88, -1)[:, :3].argmax(1)
    return Task(train=(x_N[:48], y_N[:48]), val=(x_N[48:], y_N[48:]))


def words() -> Task:
    rng = np.random.default_rng(0)
    x_NT = rng.integers(0, 11, size=(88, 5))
    return Task(train=(x_NT[:48], x_NT[:48, 2] % 3), val=(x_NT[48:], x_NT[48:, 2] % 3))


def assert_packs(task: Task, model: dict[str, Any]) -> None:
    # not Adam: a bias before a norm has no gradient but rounding, which Adam would make a whole step of
    base = {"epochs": 2, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.02}, "model": model}
    own = [{"seed": seed, "regularization": {"dropout": 0.1 + 0.1 * seed}} for seed in range(2)]
    configs = [check(TrainingConfig, {**base, **fields}) for fields in own]
    assert Pack(task, configs[0], "cpu").serial == ()
    assert_equal_to_solo(configs, task)


@pytest.mark.parametrize("model", VARIANTS, ids=str)
def test_every_variant_is_equal_to_solo_in_a_pack(model: dict[str, Any]) -> None:
    assert_packs(task_for(model["name"]), model)


def test_a_transformer_of_words_is_equal_to_solo_in_a_pack() -> None:
    assert_packs(words(), {"name": "transformer", "width": 8, "heads": 2})


def test_todays_networks_have_the_names_that_checkpoints_know() -> None:
    assert list(built({"name": "mlp"}, (7,)).state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    names = ["0.weight", "0.bias", "3.weight", "3.bias", "8.weight", "8.bias"]
    assert list(built({"name": "cnn"}, (1, 8, 8)).state_dict()) == names


@pytest.mark.parametrize("name", list(Activation.__args__))  # type: ignore[attr-defined]
def test_every_activation_is_torchs(name: Activation) -> None:
    x = torch.linspace(-3, 3, 13)
    assert torch.equal(activation(name)(x), getattr(nn.functional, name)(x))


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (16, 1), (24, 1), (32, 2), (64, 4), (512, 32), (56, 1)])
def test_groups_divide_the_channels_and_have_sixteen_or_more(channels: int, groups: int) -> None:
    norm = image_norm("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_resnet18_has_the_paper_s_layers() -> None:
    net = built({"name": "resnet18"}, (3, 32, 32))
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(conv.kernel_size == (3, 3) for conv in convs) + 1 == 18, "with the linear layer"
    assert [conv.out_channels for conv in convs if conv.kernel_size == (1, 1)] == [128, 256, 512]
    # of the CIFAR variant with 3 classes, by hand: 9408 - 7680 = 1728 for a stem of 3x3 instead of 7x7
    assert sum(p.numel() for p in net.parameters()) == 11_689_512 - 513_000 + 512 * 3 + 3 - (9408 - 1728)
    x = torch.rand(2, 3, 32, 32)
    assert net[:-4](x).shape == (2, 512, 4, 4)


def test_a_resnet_s_branches_end_in_norms_and_its_head_is_found() -> None:
    net = built({"name": "resnet18", "width": 4}, (1, 8, 8))
    assert len(branches_of(net)) == 8
    assert {branch.end.kind for branch in branches_of(net)} == {"norm"}
    assert getattr(head_of(net), "name", None) == "head"


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_s_branches_are_attention_and_mlp(norm_first: bool) -> None:
    net = built({"name": "transformer", "norm_first": norm_first}, (6, 8))
    ends = [branch.end.name for branch in branches_of(net)]
    assert ends == ["blocks.0.attention.out", "blocks.0.mlp.3", "blocks.1.attention.out", "blocks.1.mlp.3"]
    assert getattr(head_of(net), "name", None) == "head"
    kinds = parameter_kinds(net)
    assert kinds["positions.weight"] == {"embedding"}
    assert undecayed(net) == {name for name in kinds if "bias" in name or "norm" in name}


def reference(net: Any, x: Tensor) -> Tensor:
    """The transformer's sums written down once more, with a product for each head."""
    x = net.embed(x) + net.positions.weight
    for block in net.blocks:
        own, seen = block.attention, block.norm1(x)
        heads = []
        for q, k, v in zip(*(f(seen).chunk(own.heads, -1) for f in (own.query, own.key, own.value)), strict=True):
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            if own.causal:
                scores = scores + torch.full_like(scores, -torch.inf).triu(1)
            heads.append(scores.softmax(-1) @ v)
        x = x + own.out(torch.cat(heads, -1))
        x = x + block.mlp[3](nn.functional.gelu(block.mlp[0](block.norm2(x))))
    seen = net.norm(x)
    return net.head(seen[:, -1] if net.takes_last else seen.mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("causal", [True, False])
def test_a_transformer_is_the_paper_s(causal: bool) -> None:
    net = built({"name": "transformer", "causal": causal}, (6, 8))
    x = torch.randn(4, 6, 8)
    torch.testing.assert_close(net(x), reference(net, x))


def test_causal_positions_see_nothing_behind_them() -> None:
    x = torch.randn(4, 6, 8)
    later = torch.cat([x[:, :3], x[:, 3:] + 1], 1)
    for causal in (True, False):
        net: Any = built({"name": "transformer", "causal": causal}, (6, 8))
        first, second = (net.blocks(net.embed(values) + net.positions.weight)[:, :3] for values in (x, later))
        assert torch.allclose(first, second) is causal


def test_dropout_acts_in_attention_too() -> None:
    net = built({"name": "transformer"}, (6, 8)).train()
    x = torch.randn(4, 6, 8)
    before = net(x)
    for block in net.get_submodule("blocks"):  # type: ignore[union-attr]
        block.attention.drop.p = 0.5
    assert not torch.equal(net(x), before)
    assert torch.equal(net.eval()(x), before)


@pytest.mark.parametrize("initializer", ["orthogonal", "xavier_uniform", "gpt2"])
def test_initializers_fill_attention_and_embeddings(initializer: str) -> None:
    task = words()
    raw = {"name": initializer, "embedding_std": 0.5, "residual": "zero", "head_scale": 0.0}
    config = check(TrainingConfig, {"model": {"name": "transformer", "width": 32}, "initializer": raw})
    net: Any = config.model.build_for(task)
    config.initializer.apply(net, 0)
    assert net.embed.weight.std().item() == pytest.approx(0.5, rel=0.15)
    query = net.blocks[0].attention.query.weight
    if initializer == "orthogonal":
        torch.testing.assert_close(query @ query.T, torch.eye(32), rtol=0, atol=1e-5)
    assert not net.blocks[0].attention.out.weight.any()
    assert not net(torch.as_tensor(task.train[0])).any()


def test_words_are_counted_over_all_splits() -> None:
    task = words()
    assert task.vocabulary == 11
    assert task_for("cnn").vocabulary is None
    below = Task((task.train[0] - 1, task.train[1]), task.val)
    with pytest.raises(UserError, match=r"^task\.train: words in x must count from 0, found -1$"):
        train_task(check(TrainingConfig, {"model": "transformer"}), below, Answers().trial(), "cpu")


REFUSED: list[tuple[dict[str, Any], tuple[int, ...], str]] = [
    (
        {"name": "cnn", "depth": 4},
        (1, 8, 8),
        r"^model: cnn needs images .* of at least 16x16, the task has \(1, 8, 8\)$",
    ),
    ({"name": "resnet18"}, (1, 4, 4), r"^model: resnet18 needs images .* of at least 8x8, the task has \(1, 4, 4\)$"),
    ({"name": "transformer"}, (1, 8, 8), r"^model: transformer needs sequences, .*the task has floats \(1, 8, 8\)$"),
]


@pytest.mark.parametrize(("model", "shape", "sentence"), REFUSED)
def test_what_a_model_cannot_take_is_one_sentence(model: dict[str, Any], shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        built(model, shape)


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet18"])
def test_what_takes_no_words_says_so(model: str) -> None:
    with pytest.raises(UserError, match=rf"^model: {model} needs floats, the task's inputs are integers; "):
        models.parse(model).build_for(words())


def test_an_mlp_takes_examples_of_one_number() -> None:
    assert built({"name": "mlp"}, ())(torch.rand(5)).shape == (5, 3)


def test_heads_divide_the_width() -> None:
    with pytest.raises(UserError, match=r"^model: width: must be a multiple of heads \(4\), found 30"):
        with_paths(TrainingConfig(), {"model": {"name": "transformer", "width": 30}})


def test_modular_addition_is_the_sum_of_all_pairs() -> None:
    task = tasks.parse({"name": "modular_addition", "p": 5, "train_fraction": 0.6}).make()
    assert [len(y) for _, (_, y) in task.splits()] == [15, 5, 5]
    rows = np.concatenate([np.column_stack([x, y]) for _, (x, y) in task.splits()])
    assert sorted(map(tuple, rows.tolist())) == [(a, b, 5, (a + b) % 5) for a in range(5) for b in range(5)]
    other = tasks.parse({"name": "modular_addition", "p": 5, "train_fraction": 0.6, "split_seed": 1}).make()
    assert not np.array_equal(task.train[0], other.train[0])


def test_a_task_may_say_which_model_it_starts_from() -> None:
    task = tasks.parse("modular_addition").make()
    kind = TrainingConfig.for_task(task)
    assert (kind().model.name, kind().model) == (
        "transformer",
        models.parse({"name": "transformer", "depth": 1, "width": 128}),
    )
    deeper = with_paths(kind(), {"model.depth": 3})
    assert deeper.model == models.parse({"name": "transformer", "depth": 3, "width": 128})
    assert check(kind, {"model": {"depth": 3}}).model.name == "transformer"
    assert with_paths(kind(), {"model": "mlp"}).model == models.parse("mlp")
    with pytest.raises(UserError, match=r"^task\.model: unknown model 'transfromer'; did you mean 'transformer'"):
        TrainingConfig.for_task(Task(task.train, task.val, model="transfromer"))
