"""Whether a network can be a member of a pack, found by trying: one step of two members against two plain steps.

torch.func.vmap runs most networks unchanged, refuses some (`.item()`, an `if` on a tensor) and, rarely, computes
something else in silence. So no list of modules decides, but the numbers do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpo.errors import HpoError
from hpo.training.evaluation import scores_of
from hpo.training.loop import Run
from hpo.training.packed_numbers import numbers_of_epoch
from hpo.training.packed_rules import Row
from hpo.training.packed_step import MemberStep
from hpo.training.rows import others
from hpo.training.shape import Unpackable

EXAMPLES = 64  # that both ways score in the comparison
NEAR = {"float32": 1e-3, "bfloat16": 0.1}  # relative to the largest number of its kind
_NO_RULE = "batching rule for "


@dataclass(frozen=True)
class _Step:
    """What the first step of one run computes."""

    value: Tensor
    gradients: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    scores: Tensor


def probe(step: MemberStep, runs: Sequence[Run]) -> tuple[str, ...]:
    """Compare both ways at the first step of two fresh runs, which it uses up; operations without a batching rule.

    torch calls those for one member after another. Raises Unpackable.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        packed = _packed(step, runs)
    near = NEAR[runs[0].config.precision]
    for found, run in zip(packed, runs, strict=True):
        expected = _plain(run)
        _same("loss", found.value, expected.value, near)
        _same("evaluation", found.scores, expected.scores, near)
        scale = max(float(gradient.abs().max()) for gradient in expected.gradients.values())
        for name, gradient in expected.gradients.items():
            _same(f"gradient of {name}", found.gradients[name], gradient, near, scale)
        for name, tensor in expected.others.items():
            _same(name, found.others[name], tensor, near)
    texts = [str(one.message) for one in caught]
    return tuple(sorted({text.split(_NO_RULE)[1].split(".")[0] for text in texts if _NO_RULE in text}))


def _packed(step: MemberStep, runs: Sequence[Run]) -> list[_Step]:
    form, count = step.form, runs[0].config.batch_size
    own = [form.take(run) for run in runs]
    rows = {name: torch.stack([row[name] for row in own]) for name in own[0]}
    x_KB, y_KB = (torch.stack([values_N[:count]] * len(runs)) for values_N in (runs[0].x_N, runs[0].y_N))
    try:
        with step.masks.installed():
            value_K, gradient_KP, others_K = step.gradient(rows, x_KB, y_KB, numbers_of_epoch(runs).at(0))
        scores_K = _scores(step, rows, runs[0].data.splits["val"][0][:EXAMPLES])
    except HpoError:
        raise
    except Exception as error:
        raise Unpackable(f"the model does not run as a stack: {_first_line(error)}") from None
    return [
        _Step(value_K[k], form.layout.views(gradient_KP[k]), {n: t[k] for n, t in others_K.items()}, scores_K[k])
        for k in range(len(runs))
    ]


@torch.no_grad()
def _scores(step: MemberStep, rows: Row, x_N: Tensor) -> Tensor:
    """In whichever way the model can be evaluated; the step remembers it."""
    try:
        return step.scores(rows, x_N)
    except RuntimeError:
        step.scores_as_in_training = True
        return step.scores(rows, x_N)


def _plain(run: Run) -> _Step:
    """Raises Unpackable for what only a plain step shows: parameters without a gradient, attributes that change."""
    scores = scores_of(run.net, run.data.splits["val"][0][:EXAMPLES])  # before the step, which moves statistics
    before = _attributes(run.net)
    now = next(run.moments(0))
    count = run.config.batch_size
    x_B, y_B = run.slots.mix(run.x_N[:count], run.y_N[:count], now)
    value, gradients = run.slots.gradient(run.computing.at(x_B, y_B, now), run.weights, now)
    missing = next((name for name in run.weights if name not in gradients), None)
    if missing is not None:
        raise Unpackable(f"the model's {missing} gets no gradient, and a pack would move it all the same")
    changed = next((name for name, value in _attributes(run.net).items() if before.get(name, value) != value), None)
    if changed is not None:
        raise Unpackable(f"the model's {changed} changes in its forward pass, and members would share it")
    return _Step(value, gradients, others(run.net, run.weights), scores)


def _attributes(net: nn.Module) -> dict[str, Any]:
    """Plain values that its modules hold."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in net.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str)
    }


def _same(what: str, found: Tensor, expected: Tensor, near: float, scale: float = 0.0) -> None:
    found, expected = found.double(), expected.double()
    size = max(float(expected.abs().max()) if expected.numel() else 0.0, scale, 1e-6)
    off = float((found - expected).abs().max()) / size if expected.numel() else 0.0
    if not off <= near:
        raise Unpackable(f"the model computes something else as a stack: its {what} is off by {off:.1g} of its size")


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
