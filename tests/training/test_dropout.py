"""Dropout by counter: the same masks alone, in a pack, compiled and resumed, wherever a model drops something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import Task, tasks
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, OwnModelConfig, TrainingConfig, Verdict, train_task, with_paths
from hpo.training.dropout import Masks, Rate
from hpo.training.randomness import Draws
from hpo.training.slots import Now

CPU = torch.device("cpu")
PATH = "regularization.dropout"
NATIVE = {name: getattr(functional, name) for name in Masks(CPU).functions}


def moment(step: int | Tensor = 0, seed: int | Tensor = 7, rate: float | Tensor | None = None) -> Now:
    values = {"optimizer.lr": 0.1} | ({} if rate is None else {PATH: rate})
    return Now(step, 10**6, values, Draws(seed, step, CPU))


@contextmanager
def drawing(masks: Masks, now: Now) -> Iterator[None]:
    with masks.of(now), masks.forward():
        yield


def masked(masks: Masks, now: Now, run: Callable[[], Tensor]) -> Tensor:
    with drawing(masks, now):
        return run()


ONES = torch.ones(40, 30)


def ours(step: int, rate: float = 0.3, masks: Masks | None = None, x: Tensor = ONES) -> Tensor:
    return masked(masks or Masks(CPU), moment(step), lambda: functional.dropout(x, rate))


def test_it_drops_at_its_rate_and_keeps_the_mean() -> None:
    x = torch.ones(400, 400)
    for rate in (0.05, 0.3, 0.9):
        dropped = ours(3, rate, x=x)
        assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        assert (dropped == 0).double().mean().item() == pytest.approx(rate, abs=5 * (rate / 160000) ** 0.5)
    assert ours(3, 0.0) is ONES
    assert torch.equal(ours(3, 1.0), torch.zeros_like(ONES))


def test_a_mask_hangs_on_seed_step_and_layer_and_not_on_what_was_drawn_before() -> None:
    masks = Masks(CPU)
    row = [ours(step, masks=masks) for step in range(200)]  # most of them from blocks
    for step in (0, 1, 2, 99, 199):
        assert torch.equal(row[step], ours(step)), "as the first of its training"
    assert torch.equal(row[5], ours(5, masks=masks)), "going back changes nothing"
    assert not torch.equal(row[5], row[6])
    other_seed = masked(Masks(CPU), moment(5, seed=8), lambda: functional.dropout(ONES, 0.3))
    assert not torch.equal(row[5], other_seed)
    two = masked(Masks(CPU), moment(5), lambda: torch.stack([functional.dropout(ONES, 0.3) for _ in range(2)]))
    assert torch.equal(two[0], row[5])
    assert not torch.equal(two[1], row[5])


def test_what_is_not_training_is_neither_dropped_nor_counted() -> None:
    def run() -> Tensor:
        assert functional.dropout(ONES, 0.3, training=False) is ONES
        return functional.dropout(ONES, 0.3)

    assert torch.equal(masked(Masks(CPU), moment(4), run), ours(4))


def test_torchs_own_functions_come_back() -> None:
    def fails() -> Tensor:
        assert functional.dropout is not NATIVE["dropout"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        masked(Masks(CPU), moment(), fails)
    assert {name: getattr(functional, name) for name in NATIVE} == NATIVE


@pytest.mark.parametrize(
    ("layer", "shape", "mask"),
    [
        (nn.Dropout1d, (5, 6, 7), (5, 6, 1)),
        (nn.Dropout1d, (6, 7), (6, 1)),
        (nn.Dropout2d, (5, 6, 7, 8), (5, 6, 1, 1)),
        (nn.Dropout3d, (5, 6, 7, 8, 9), (5, 6, 1, 1, 1)),
        (nn.Dropout3d, (6, 7, 8, 9), (6, 1, 1, 1)),
        (nn.FeatureAlphaDropout, (5, 6, 7), (5, 6, 1)),
        (nn.AlphaDropout, (5, 6, 7), (5, 6, 7)),
    ],
)
def test_whole_channels_are_dropped_where_torch_drops_them(
    layer: type[nn.Module], shape: tuple[int, ...], mask: tuple[int, ...]
) -> None:
    x = torch.full(shape, 2.0)
    dropped = masked(Masks(CPU), moment(), lambda: layer(0.5)(x))
    torch.manual_seed(1)
    native = layer(0.5)(x)
    assert dropped.unique().tolist() == pytest.approx(native.unique().tolist())
    low = dropped == dropped.min()
    assert 0 < low.double().mean() < 1
    assert torch.equal(low.view(*mask, -1).all(-1), low.view(*mask, -1).any(-1)), "all alike in a channel"


def test_in_place_it_changes_its_input() -> None:
    x = ONES.clone()
    dropped = masked(Masks(CPU), moment(), lambda: nn.Dropout(0.3, inplace=True)(x))
    assert dropped is x
    assert torch.equal(x, ours(0))


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}, {"mask": "bool"}, {"mask": "float"}]
)
def test_attention_is_torchs_but_for_its_mask(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = dict(options)
    heads = 2 if "enable_gqa" in kinds else 4
    query = torch.randn(3, 4, 5, 8, generator=generator)
    key, value = torch.randn(2, 3, heads, 5, 8, generator=generator).unbind()
    mask = kinds.pop("mask", None)
    if mask is not None:
        own = torch.randn(5, 5, generator=generator)
        kinds["attn_mask"] = own if mask == "float" else (own > 0) | torch.eye(5, dtype=torch.bool)
    attention = functional.scaled_dot_product_attention
    expected = attention(query, key, value, **kinds)
    run = lambda rate: masked(  # noqa: E731
        Masks(CPU),
        moment(),
        lambda: functional.scaled_dot_product_attention(query, key, value, dropout_p=rate, **kinds),
    )
    assert torch.equal(run(0.0), expected)
    torch.testing.assert_close(run(Rate(0.0, PATH)), expected)
    assert not torch.allclose(run(0.3), expected)


class Attends(nn.Module):
    """Attention with its own dropout, dropout modules and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.drop, self.head = nn.Dropout(Rate(0.4, PATH)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.dropout(self.layer(x), 0.1, self.training)
        return self.head(self.drop(x).mean(1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Attends()


INPUTS = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(1))


def test_a_row_of_a_pack_has_the_masks_of_a_training_alone(network: nn.Module) -> None:
    seeds, steps, rates = torch.tensor([7, 9, 2**31 - 1]), torch.tensor([4, 0, 10**6]), torch.tensor([0.4, 0.1, 0.0])
    masks = Masks(CPU)

    def member(seed: Tensor, step: Tensor, rate: Tensor) -> Tensor:
        with drawing(masks, moment(step, seed, rate)):
            found: Tensor = network(INPUTS)
            return found

    packed = torch.vmap(member)(seeds, steps, rates.double())
    for i in range(3):
        now = moment(int(steps[i]), int(seeds[i]), float(rates.double()[i]))
        torch.testing.assert_close(packed[i], masked(Masks(CPU), now, lambda: network(INPUTS)), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_code_has_the_same_masks_and_is_compiled_once(network: nn.Module) -> None:
    masks, compilations = Masks(CPU, compiled=True), []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        compilations.append(graph)
        return graph.forward

    torch._dynamo.reset()
    run = torch.compile(network, backend=backend, dynamic=False, fullgraph=True)
    for step, rate in ((0, 0.4), (1, 0.3), (17, 0.2)):
        compiled = masked(masks, moment(step, rate=rate), lambda: run(INPUTS))
        eager = masked(Masks(CPU), moment(step, rate=rate), lambda: network(INPUTS))
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)
    assert len(compilations) == 1


def test_activation_checkpointing_is_refused_where_it_would_give_wrong_gradients() -> None:
    layer = nn.Sequential(nn.Linear(30, 30), nn.Dropout(0.3))
    masks = Masks(CPU)
    with masks.of(moment()):
        with masks.forward():
            value = checkpoint(layer, ONES, use_reentrant=False).sum()
        with pytest.raises(UserError, match=r"^native_dropout: must be true for a model that computes"):
            value.backward()
    checkpoint(layer, ONES, use_reentrant=False).sum().backward()


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


def test_a_schedule_moves_the_rate_also_in_attention(digits: Task) -> None:
    seen: list[float] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            if self.training:
                ones = torch.ones(200, 200)
                seen.append((self.drop(ones) == 0).double().mean().item())
                functional.scaled_dot_product_attention(x, x, x, dropout_p=self.drop.p)
            return self.head(self.drop(x))

    task = Task(digits.train, digits.val, model=lambda read: Watch())
    raw = {PATH: 0.8, f"schedules.{PATH}": "linear", "epochs": 2, "batch_size": 256}
    train_task(check(OwnModelConfig, raw), task, Answers().trial(), "cpu")
    assert seen == pytest.approx([0.8 * (1 - step / 10) for step in range(10)], abs=0.01)


def test_a_schedule_cannot_move_native_dropout() -> None:
    raw = {PATH: 0.2, f"schedules.{PATH}": "linear", "native_dropout": True}
    with pytest.raises(UserError, match=rf"^schedules\.{PATH}: cannot move it beside native_dropout: true"):
        check(TrainingConfig, raw)


@pytest.mark.parametrize("pieces", [1, 3])
def test_both_passes_of_sam_drop_the_same(pieces: int, digits: Task) -> None:
    seen: list[tuple[float, ...]] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(tuple(self.drop(torch.ones(500)).tolist()))
            return self.head(x.flatten(1))

    task = Task(digits.train, digits.val, model=lambda read: Watch())
    raw = {"regularization.sam": 0.05, "epochs": 1, "batch_size": 256, "accumulate": pieces}
    train_task(check(OwnModelConfig, raw), task, Answers().trial(), "cpu")
    steps = [seen[first : first + 2 * pieces] for first in range(0, len(seen), 2 * pieces)]
    assert len(steps) == 5
    for masks in steps:
        assert masks[:pieces] == masks[pieces:]
    assert len(set(seen)) == 5 * pieces, "those of other steps and pieces are others"


@pytest.mark.parametrize("native", [False, True])
def test_either_dropout_is_the_same_after_a_stop(native: bool, digits: Task, tmp_path: Path) -> None:
    config = check(TrainingConfig, {PATH: 0.4, "native_dropout": native, "epochs": 3, "batch_size": 128})
    whole = train_task(config, digits, Answers().trial(), "cpu")
    store = CheckpointFile(tmp_path / "c.pt")
    train_task(config, digits, Answers({1: Verdict.PUT_BACK}).trial(store), "cpu")
    assert train_task(config, digits, Answers().trial(store), "cpu").history == whole.history
    other = with_paths(config, {"native_dropout": not native})
    assert train_task(other, digits, Answers().trial(), "cpu").history != whole.history
