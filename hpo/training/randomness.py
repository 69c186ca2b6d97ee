"""Where all random numbers of a training come from: its seed, and the name of what they are for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose; the same in every process and on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_globals(seed: int, *, cuda: bool) -> None:
    """Seed the global generators of torch, NumPy and Python; those of the GPUs where `cuda`."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also visits every kind of accelerator: 0.4 ms
    if cuda:
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class Randomness:
    """Seeds every global generator that a model may draw from, anew for each purpose.

    Each epoch starts from a seed of its own, so what it draws (order, dropout, mixing) hangs on (seed, epoch) and on
    nothing that ran before or beside it: a resumed training needs no generator's state to be bit for bit the same.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.generator = torch.Generator(device=device)
        self.order = torch.Generator()  # on the CPU, so that devices agree about the order

    def start(self, *purpose: str | int) -> None:
        """Seed the global generators of torch, NumPy and Python, and this object's two, for `purpose`."""
        seed_globals(derive(self.seed, *purpose), cuda=self.generator.device.type == "cuda")
        self.generator.manual_seed(derive(self.seed, *purpose, "mix"))
        self.order.manual_seed(derive(self.seed, *purpose, "order"))


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
