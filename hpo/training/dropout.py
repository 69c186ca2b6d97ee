"""Dropout by counter: each mask is a function of (seed, step, layer, index), wherever a model drops something.

While a step computes, the functions of torch.nn.functional that draw masks are replaced by ones that do not draw from
a global generator. So it reaches nn.Dropout, attention and the models of other libraries without an edit, and the mask
is the same alone, in a pack, compiled, resumed, and on another device. A layer is the how-manieth call of a forward
pass. Out of reach are dropout inside torch's LSTM and GRU, and functions that a module imported by name; they draw from
the global generator, which is seeded anew for every epoch. The replacement holds for the process: one training a time.

N numbers of one mask, S steps whose masks are made at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpo.errors import UserError
from hpo.training.randomness import Draws, MemberDraws, Number, bits, further, keys, named
from hpo.training.slots import Now

_BLOCK = 2**17  # numbers of a block: a mask costs eighty small kernels besides, so it is made for many steps at once
_PURPOSE = named("dropout")
_ALPHA = -1.7580993408473766  # what SELU tends to (Klambauer et al. 2017, arXiv:1706.02515)


class Rate(float):
    """A dropout rate that stands in a module as its `p`, and follows what `schedules:` says of `path` all the same."""

    path: str

    def __new__(cls, rate: float, path: str) -> Rate:
        """rate: the config's own.  path: of the number that moves it, `regularization.dropout`."""
        self = super().__new__(cls, rate)
        self.path = path
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Rate, (float(self), self.path)


class Masks:
    """The masks of one training, and what stands in for torch's functions while one of its steps computes."""

    def __init__(self, device: torch.device, compiled: bool = False) -> None:
        """compiled: the network is, so that what changes from step to step must be a tensor."""
        self.device, self.compiled = device, compiled
        self.seed: int | Tensor = 0
        self.draws: Draws | None = None
        self.step: int | Tensor = torch.zeros((), dtype=torch.int64, device=device)
        self.moved: Mapping[str, Number] = {}
        self.layer, self.counting = 0, False
        self.blocks: dict[tuple[Any, ...], tuple[int, Tensor]] = {}
        self.functions = _functions(self)

    @contextmanager
    def of(self, now: Now) -> Iterator[None]:
        """The masks of `now`: inside, forward passes (`forward`) count their layers from 0, one after the other."""
        self.begin(now)
        with self.installed():
            yield

    @contextmanager
    def installed(self) -> Iterator[None]:
        """torch's functions replaced; whose masks is for `begin` to say."""
        before = {name: getattr(functional, name) for name in self.functions}
        for name, function in self.functions.items():
            setattr(functional, name, function)
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(functional, name, function)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """A forward pass. What asks for a mask outside of one is a forward pass that a backward pass runs again."""
        self.counting = True
        try:
            yield
        finally:
            self.counting = False

    def begin(self, now: Now) -> None:
        """Be the masks of `now`, from layer 0 on."""
        self.seed, self.layer, self.draws = now.draws.seed, 0, now.draws
        if not self.compiled:
            self.step, self.moved = now.step, now.values
            return
        assert isinstance(self.step, Tensor)
        self.step.fill_(now.step)
        moved = [path for path in now.values if path.startswith("regularization.")]
        self.moved = self.moved or {path: torch.zeros_like(self.step, dtype=torch.float64) for path in moved}
        for path, value in self.moved.items():
            assert isinstance(value, Tensor)
            value.fill_(now.values[path])

    def forget(self) -> None:
        """Hold no tensor of a step: those of a member end with torch.func.vmap."""
        self.seed, self.step, self.moved, self.draws = 0, 0, {}, None

    def next_layer(self) -> int:
        """The number of this call. Raises UserError in a backward pass, where layers cannot be counted."""
        if not self.counting:
            raise UserError(
                "native_dropout: must be true for a model that computes its forward pass again in the backward pass "
                "(activation checkpointing), where a counted mask cannot be found again"
            )
        layer = self.layer
        self.layer = layer + 1
        return layer

    def drop(self, x: Tensor, rate: Number, shape: Sequence[int], inplace: bool) -> Tensor:
        """`x` with the mask of this layer, of a shape that broadcasts to its own."""
        if not isinstance(rate, Rate) and rate in (0, 1):
            self.next_layer()
            return x if rate == 0 else x * 0
        scale, _ = self.scales(shape, rate, x.dtype)
        return x.mul_(scale) if inplace else x * scale

    def scales(self, shape: Sequence[int], rate: Number, dtype: torch.dtype) -> tuple[Tensor, Number]:
        """What the numbers of this layer are multiplied by, 0 with probability `rate`; and the rate of this step."""
        layer, moves = self.next_layer(), isinstance(rate, Rate) and rate.path in self.moved
        rate = self.moved[rate.path] if isinstance(rate, Rate) and moves else rate
        if self.draws is None or self.draws.shard is None:
            return self._scale_of(layer, shape, rate, dtype, moves), rate
        return self.draws.of_rows(lambda whole: self._scale_of(layer, whole, rate, dtype, moves), shape), rate

    def _scale_of(self, layer: int, shape: Sequence[int], rate: Number, dtype: torch.dtype, moves: bool) -> Tensor:
        count = math.prod(shape)
        if isinstance(self.step, Tensor):
            scale_N = _scale(self._bits(layer, self.step, count), rate, dtype)
        elif moves:
            scale_N = _scale(
                self._of_block((layer, count), lambda step_S: self._bits(layer, step_S, count)), rate, dtype
            )
        else:
            scale_N = self._of_block(
                (layer, count, rate, dtype), lambda step_S: _scale(self._bits(layer, step_S, count), rate, dtype)
            )
        return scale_N.view(tuple(shape))

    def _bits(self, layer: int, step: Tensor, count: int) -> Tensor:
        begun = self.draws.keys() if isinstance(self.draws, MemberDraws) else keys(self.seed, step)
        return bits(*further(*begun, _PURPOSE, layer), count, self.device)

    def _of_block(self, key: tuple[Any, ...], make: Callable[[Tensor], Tensor]) -> Tensor:
        """The row of this step, made together with those of the next steps where they will be wanted."""
        assert isinstance(self.step, int)
        first, block_SN = self.blocks.get(key, (-1, torch.empty(0)))
        if not first <= self.step < first + len(block_SN):
            # a mask of one shape at two steps in a row will be wanted at the next ones too
            steps = max(1, _BLOCK // max(key[1], 1)) if self.step == first + len(block_SN) else 1
            first, block_SN = self.step, make(torch.arange(self.step, self.step + steps, device=self.device)[:, None])
            self.blocks[key] = first, block_SN
        return block_SN[self.step - first]


def _scale(bits_N: Tensor, rate: Number, dtype: torch.dtype) -> Tensor:
    # compared as whole numbers of 32 bits, which float32 would round
    least = (rate.double() * 2.0**32).long() if isinstance(rate, Tensor) else int(rate * 2**32)
    return torch.where(bits_N >= least, 1 / (1 - rate), 0.0).to(dtype)


class NativeMasks:
    """Off: torch draws from its global generators, which are seeded anew for every epoch."""

    def of(self, now: Now) -> AbstractContextManager[None]:
        """Nothing is replaced."""
        del now
        return nullcontext()

    def forward(self) -> AbstractContextManager[None]:
        """Nothing is counted."""
        return nullcontext()


def _functions(masks: Masks) -> dict[str, Callable[..., Tensor]]:
    """torch.nn.functional's own by name, with the same arguments."""
    return {
        "dropout": _of_shape(masks, lambda x: x.shape),
        "dropout1d": _of_shape(masks, partial(_channels, unbatched=2)),
        "dropout2d": _of_shape(masks, partial(_channels, unbatched=2)),  # three dimensions are a batch there
        "dropout3d": _of_shape(masks, partial(_channels, unbatched=4)),
        "alpha_dropout": _alpha(masks, lambda x: x.shape),
        "feature_alpha_dropout": _alpha(masks, partial(_channels, unbatched=0)),  # always of a batch
        "scaled_dot_product_attention": _attention(masks),
        # torch.compile takes torch's own for one operation and would not look inside; a copy it reads as any function
        "multi_head_attention_forward": _copied(functional.multi_head_attention_forward),
    }


def _channels(x: Tensor, unbatched: int) -> Sequence[int]:
    """The shape of a mask of whole channels. unbatched: how many dimensions an input without a batch has."""
    kept = 1 if x.dim() == unbatched else 2
    return [*x.shape[:kept], *[1] * (x.dim() - kept)]


def _of_shape(masks: Masks, shape_of: Callable[[Tensor], Sequence[int]]) -> Callable[..., Tensor]:
    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return masks.drop(input, p, shape_of(input), inplace) if training else input

    return dropout


def _alpha(masks: Masks, shape_of: Callable[[Tensor], Sequence[int]]) -> Callable[..., Tensor]:
    def dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
        if not training:
            return input
        scales, rate = masks.scales(shape_of(input), p, input.dtype)
        kept = (scales != 0).to(input.dtype)
        scale = ((_ALPHA**2 * rate + 1) * (1 - rate)) ** -0.5
        moved = input * (kept * scale) + ((1 - kept) * _ALPHA + rate * -_ALPHA) * scale
        return input.copy_(moved) if inplace else moved

    return dropout


def _attention(masks: Masks) -> Callable[..., Tensor]:
    native = functional.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if not dropout_p and not isinstance(dropout_p, Rate):
            masks.next_layer()  # counted all the same: members of a pack may differ in their rates
            return native(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        shares = scores.softmax(-1)
        return masks.drop(shares, dropout_p, shares.shape, False) @ value

    return attention


def _copied(function: Any) -> Callable[..., Any]:
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
