"""Where all random numbers of a training come from: its seed, and the name of what they are for.

Draws of a step are pure functions of (seed, step, purpose, index), in tensor operations on integers: the same on every
device, alone or as a row of a pack (seed and step may be 0-D tensors under torch.func.vmap), compiled or not, resumed
or not. What draws from a global generator all the same (a user's own module) finds it seeded anew for every epoch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from hpo.training.shard import Shard

Number = float | Tensor
"""A hyperparameter: a float, or a 0-D tensor where members of a pack differ."""

_LOW = 0xFFFFFFFF  # 32 bits, kept in int64 lanes, where no product below overflows
_BLOCK = 256


def derive(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose; the same in every process and on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def scrambled(x: Any, key: int | Tensor = 0) -> Any:
    """32 bits to 32 bits, one to one for each key, every bit hanging on all of them; Python ints or int64 tensors."""
    x = x ^ (x >> 16)  # a tensor of its own, on which the rest works in place: a large one is slow to allocate
    x *= 0x7FEB352D
    x += key
    x &= _LOW
    x ^= x >> 15
    x *= 0x45D9F3B
    x &= _LOW
    x ^= x >> 16
    return x


def keys(seed: int | Tensor, *parts: int | Tensor) -> tuple[int | Tensor, int | Tensor]:
    """Two keys of 32 bits for what (seed, *parts) name; each of them of 31 bits at most."""
    return further(scrambled(seed), scrambled(seed ^ 0x2C1B3C6D), *parts)


def further(first: int | Tensor, second: int | Tensor, *parts: int | Tensor) -> tuple[int | Tensor, int | Tensor]:
    """The keys of (seed, *before, *parts) from those of (seed, *before)."""
    for part in parts:
        first, second = scrambled(first ^ part, second), scrambled(second ^ part, 0x27D4EB2F)
    return first, second


def bits(first: int | Tensor, second: int | Tensor, count: int, device: torch.device) -> Tensor:
    """`count` random whole numbers of 32 bits for two keys, int64."""
    found: Tensor = scrambled(_indices(count, device) ^ first, second)
    return found


def _indices(count: int, device: torch.device) -> Tensor:
    return _fresh_indices(count, device) if torch.compiler.is_compiling() else _kept_indices(count, device)


def _fresh_indices(count: int, device: torch.device) -> Tensor:
    found: Tensor = scrambled(torch.arange(count, device=device))
    return found


_kept_indices = lru_cache(maxsize=32)(_fresh_indices)


@lru_cache(maxsize=256)
def named(purpose: str) -> int:
    """31 bits for a purpose."""
    return derive(0, purpose) >> 32


class Draws:
    """The random numbers of one step of one training, each a function of (seed, step, purpose, index) alone.

    A purpose names one use ("mixup.partner"); asked twice, it gives the same numbers twice. Whoever draws for many
    things of one kind puts their number into the name or into `part` (a layer, a parameter).
    """

    def __init__(self, seed: int | Tensor, step: int | Tensor, device: torch.device) -> None:
        """seed, step: below 2**31; ints, or 0-D int64 tensors where members of a pack differ."""
        self.seed, self.step, self.device = seed, step, device
        self.shard: Shard | None = None
        """The rows of the batch that are computed here, where others compute the rest of it."""

    def of_rows(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
        """What `draw` gives for the rows that are computed here; `shape`: of those, the batch first."""
        return draw(shape) if self.shard is None else self.shard.drawn(draw, shape)

    def bits(self, purpose: str, count: int, part: int = 0) -> Tensor:
        """`count` whole numbers of 32 bits, int64; the same on every device."""
        return bits(*further(*self.keys(), named(purpose), part), count, self.device)

    def keys(self) -> tuple[int | Tensor, int | Tensor]:
        """Those of (seed, step)."""
        return keys(self.seed, self.step)

    def uniform(self, purpose: str, shape: Sequence[int] = (), part: int = 0) -> Tensor:
        """float32 in [0, 1), multiples of 2**-24; the same on every device."""
        whole = self.bits(purpose, math.prod(shape), part)
        return ((whole >> 8).float() * 2.0**-24).view(tuple(shape))

    def normal(self, purpose: str, shape: Sequence[int] = (), part: int = 0) -> Tensor:
        """float32 of mean 0 and variance 1 (Box & Muller 1958), within 5.8; devices differ in the last bit."""
        count = math.prod(shape)
        half = (count + 1) // 2
        first, second = torch.split(self.uniform(purpose, (2 * half,), part), half)
        radius, angle = (-2 * torch.log1p(-first)).sqrt(), 2 * math.pi * second
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count].view(tuple(shape))

    def permutation(self, purpose: str, count: int, part: int = 0) -> Tensor:
        """The numbers 0 ... count-1 in a random order, int64; the same on every device."""
        # the index behind the bits makes every key another one, so that no sort has to be stable
        order = (self.bits(purpose, count, part) << 31) | torch.arange(count, device=self.device)
        return order.argsort()

    def beta(self, purpose: str, a: Number, b: Number, part: int = 0) -> Tensor:
        """One float32 of a Beta distribution; a and b above 0. As the ratio of two Gammas (Marsaglia & Tsang 2000).

        16 tries, of which each is taken with at least 95 %, in place of a loop that hangs on what was drawn; in
        logarithms, as a Gamma of 0.1 is often below the smallest float.
        """
        seed, step = self.seed, self.step
        if not any(isinstance(value, Tensor) for value in (seed, step, a, b)):
            block, place = divmod(int(step), _BLOCK)
            return _betas(int(seed), block, purpose, float(a), float(b), part, self.device)[place]
        shape_2 = torch.stack([torch.as_tensor(x, dtype=torch.float32, device=self.device) for x in (a, b)])
        d_2R = shape_2[:, None] + 2 / 3  # as for shape + 1, which the last line undoes
        x_2R = self.normal(f"{purpose}.normal", (2, 16), part)
        u_2R = 1 - self.uniform(f"{purpose}.uniform", (2, 17), part)
        v_2R = (1 + x_2R / (3 * d_2R.sqrt())) ** 3
        log_v_2R = v_2R.clamp(min=1e-30).log()
        taken_2R = (v_2R > 0) & (u_2R[:, :16].log() < 0.5 * x_2R**2 + d_2R * (1 - v_2R + log_v_2R))
        first_2 = (taken_2R.int() * torch.arange(16, 0, -1, device=self.device)).argmax(1)
        log_v_2 = log_v_2R.gather(1, first_2[:, None])[:, 0]
        log_gamma_2 = d_2R[:, 0].log() + log_v_2 + u_2R[:, 16].log() / shape_2
        return (log_gamma_2[0] - log_gamma_2[1]).sigmoid()


class MemberDraws(Draws):
    """The draws of a member of a pack, whose keys were made for all members and steps of an epoch at once."""

    def __init__(self, first: Tensor, second: Tensor, step: Tensor, device: torch.device) -> None:
        """first, second: the keys of (seed, step), 0-D int64 as the step is."""
        super().__init__(0, step, device)
        self._keys = first, second

    def keys(self) -> tuple[int | Tensor, int | Tensor]:
        return self._keys


@lru_cache(maxsize=8)
def _betas(seed: int, block: int, purpose: str, a: float, b: float, part: int, device: torch.device) -> Tensor:
    """`beta` of the 256 steps of a block at once: one a step would cost its forty kernels a step."""
    step_S = torch.arange(_BLOCK, device=device) + block * _BLOCK
    found: Tensor = torch.vmap(lambda step: Draws(seed, step, device).beta(purpose, a, b, part))(step_S)
    return found


def seed_globals(seed: int, *, cuda: bool) -> None:
    """Seed the global generators of torch, NumPy and Python; those of the GPUs where `cuda`."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also visits every kind of accelerator: 0.4 ms
    if cuda:
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class Randomness:
    """The seed of one training, as keys for counters and as seeds for generators.

    Each epoch starts from a seed of its own, so what is drawn from generators (the order of examples, a user's own
    noise) hangs on (seed, epoch) and on nothing that ran before or beside it: a resumed training needs no generator's
    state to be bit for bit the same.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device
        self.member = derive(seed, "draws") >> 32
        """The seed of `Draws`, 31 bits."""
        self._generator = torch.Generator()  # on the CPU, so that devices agree about the order

    def start(self, *purpose: str | int) -> None:
        """Seed the global generators of torch, NumPy and Python for `purpose`."""
        seed_globals(derive(self.seed, *purpose), cuda=self.device.type == "cuda")

    def order(self, epoch: int, count: int) -> Tensor:
        """The order in which an epoch takes `count` examples, int64 (count,) on the device."""
        self._generator.manual_seed(derive(self.seed, "epoch", epoch, "order"))
        return torch.randperm(count, generator=self._generator).to(self.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Randomness]:
    """A Randomness for one training; afterwards the global generators go on as if it had never been."""
    on_gpu = device.type == "cuda"
    python, numpy = random.getstate(), np.random.get_state()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        try:
            if on_gpu:  # same numbers every time, rather than the quickest kernel of the day
                torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
            yield Randomness(seed, device)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
