"""A pack's step as a flat list of tensor operations, written down once and run without what found them.

torch.func.vmap and grad look at every operation several times: at 32 members of a small network that is a third of a
step. torch's tracer writes down what they came to, and running that gives the same bits. It needs no compiler, but a
few tenths of a second for each number of members; so a number that does not stay is never traced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hpo.training.packed_numbers import Numbers
from hpo.training.packed_rules import Row

Step = Callable[[Row, Tensor, Tensor, Numbers, Mapping[str, Tensor]], tuple[Tensor, Row]]
"""(rows, inputs, targets, what members differ in, the optimizer's constants) -> losses, what of the rows is another."""

AFTER = 100
"""Steps of one form after which it is traced: about as many as tracing itself takes."""
MOST = 8


class Traced:
    """A step that is traced for each form that comes often: names and shapes of all tensors.

    Nothing but tensors may change what the step does, which is what `probe` and `shape_of` see to.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self._seen: Counter[Any] = Counter()
        self._known: dict[Any, tuple[Callable[..., list[Tensor]], tuple[str, ...]]] = {}

    def __call__(
        self, rows: Row, x_KB: Tensor, y_KB: Tensor, now: Numbers, constants: Mapping[str, Tensor]
    ) -> tuple[Tensor, Row]:
        """See Step."""
        *own, values = now.tensors()
        given = [x_KB, y_KB, *own, *rows.values(), *values.values(), *constants.values()]
        form = (*rows, None, *values, None, *constants, *(tensor.shape for tensor in given))
        if form not in self._known:
            self._seen[form] += 1
            if self._seen[form] <= AFTER:
                return self.step(rows, x_KB, y_KB, now, constants)
            if len(self._known) == MOST:
                self._known.pop(next(iter(self._known)))
            self._known[form] = self._trace(given, tuple(rows), tuple(values), tuple(constants))
        run, names = self._known[form]
        with torch.no_grad():
            losses_K, *moved = run(*given)
        return losses_K, dict(zip(names, moved, strict=True))

    def _trace(
        self, given: list[Tensor], rows: tuple[str, ...], values: tuple[str, ...], constants: tuple[str, ...]
    ) -> tuple[Callable[..., list[Tensor]], tuple[str, ...]]:
        """The flat step, and the names of what it gives besides the losses."""
        names: tuple[str, ...] = ()

        def flat(x_KB: Tensor, y_KB: Tensor, *rest: Tensor) -> list[Tensor]:
            nonlocal names
            left = iter(rest)
            first, second, step, steps = (next(left) for _ in range(4))
            own = {name: next(left) for name in rows}
            now = Numbers(first, second, step, steps, {name: next(left) for name in values})
            losses_K, moved = self.step(own, x_KB, y_KB, now, {name: next(left) for name in constants})
            names = tuple(moved)
            return [losses_K, *moved.values()]

        found = make_fx(flat)(*given)
        found.graph.eliminate_dead_code()
        found.recompile()
        return found, names
