"""A pack's step as a flat list of tensor operations, written down once and run without what found them.

torch.func.vmap and grad look at every operation several times: at 32 members of a small network that is a third of a
step. torch's tracer writes down what they came to, and running that gives the same bits. It needs no compiler, but a
few tenths of a second for each number of members; so a number that does not stay is never traced. Where much is left to
train, what is written down is compiled as well, by another process (`ahead.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hpo.training.ahead import BREAK_EVEN, Compilation, Flat
from hpo.training.packed_numbers import Numbers
from hpo.training.packed_rules import Row

Step = Callable[[Row, Tensor, Tensor, Numbers, Mapping[str, Tensor]], tuple[Tensor, Row]]
"""(rows, inputs, targets, what members differ in, the optimizer's constants) -> losses, what of the rows is another."""

AFTER = 100
"""Steps of one form after which it is traced: about as many as tracing itself takes."""
MOST = 8
FEWEST_COMPILED = 8
"""Members of a step that is compiled: a pack that has shrunk below will soon be gone."""


@dataclass
class _Form:
    """One form of the step. run: traced, or compiled from that. names: of what it gives besides the losses."""

    run: Flat
    names: tuple[str, ...]
    members: int
    examples: int
    compilation: Compilation
    compiled: bool = False
    due: bool = True  # to look whether it has been compiled meanwhile

    def look(self, given: list[Tensor]) -> None:
        """Take up machine code that has been made meanwhile."""
        self.due = False
        found = self.compilation.take(given)
        if found is not None:
            self.run, self.compiled = found, True


class Traced:
    """A step that is traced for each form that comes often: names, shapes and strides of all tensors.

    Nothing but tensors may change what the step does, which is what `probe` and `shape_of` see to.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self._seen: Counter[Any] = Counter()
        self._known: dict[Any, _Form] = {}

    def __call__(
        self, rows: Row, x_KB: Tensor, y_KB: Tensor, now: Numbers, constants: Mapping[str, Tensor]
    ) -> tuple[Tensor, Row]:
        """See Step."""
        *own, values = now.tensors()
        given = [x_KB, y_KB, *own, *rows.values(), *values.values(), *constants.values()]
        key = (*rows, None, *values, None, *constants, *((tensor.shape, tensor.stride()) for tensor in given))
        form = self._known.get(key)
        if form is None:
            self._seen[key] += 1
            if self._seen[key] <= AFTER:
                return self.step(rows, x_KB, y_KB, now, constants)
            if len(self._known) == MOST:
                self._known.pop(next(iter(self._known)))
            form = self._known[key] = self._trace(given, tuple(rows), tuple(values), tuple(constants))
        if form.due:
            form.look(given)
        with torch.no_grad():
            losses_K, *moved = form.run(*given)
        return losses_K, dict(zip(form.names, moved, strict=True))

    def ahead(self, seconds: float, examples: int) -> None:
        """What is known before an epoch: for how long training will go on, and how many examples most steps have.

        Steps that are worth it are compiled, and those that were are taken up within this epoch.
        """
        for form in self._known.values():
            form.due = not form.compilation.over
            if seconds > BREAK_EVEN and form.examples == examples and form.members >= FEWEST_COMPILED:
                form.compilation.begin()

    @property
    def compiled(self) -> set[int]:
        """How many members the steps have that run as machine code."""
        return {form.members for form in self._known.values() if form.compiled}

    def _trace(
        self, given: list[Tensor], rows: tuple[str, ...], values: tuple[str, ...], constants: tuple[str, ...]
    ) -> _Form:
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
        members, examples = given[0].shape[:2]
        return _Form(found, names, members, examples, Compilation(found, given))
