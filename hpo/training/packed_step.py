"""What one member of a pack computes in a step, mapped over all of them by torch.func.vmap.

The slots are those of the solo loop (`slots.py`). Members of one shape fill them alike; what they differ in comes as
`now.values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vjp, vmap

from hpo.tasks import Task
from hpo.training.averages import Following
from hpo.training.compiled import compiled
from hpo.training.dropout import Masks
from hpo.training.evaluation import CHUNK
from hpo.training.loop import Run
from hpo.training.packed_numbers import Numbers
from hpo.training.packed_rules import Row
from hpo.training.precision import autocast
from hpo.training.randomness import MemberDraws
from hpo.training.rows import RowForm, averages_of
from hpo.training.slots import Gradients, Now, Weights, no_bound
from hpo.training.traced import Step, Traced

SCORED_AT_ONCE = 16 * CHUNK
"""Examples, of all members together, that an evaluation scores at once."""


class MemberStep:
    """The step of a shape. run: any member's; its network is the form into which the weights of all are put."""

    def __init__(self, run: Run, form: RowForm, task: Task, *, compiles: bool) -> None:
        """compiles: whether `whole` is compiled at its first call, which takes half a minute."""
        self.run, self.form, self.task, self.device = run, form, task, run.x_N.device
        self.net, self.slots = run.net, run.slots
        self.masks = Masks(self.device)
        self.autocast = autocast(run.config.precision, self.device)
        self.averages = averages_of(run)
        self.scores_as_in_training = False
        """Whether an evaluation must look like a step: torch maps its LSTM over members only where gradients are."""
        self._gradients = vmap(self._gradient, randomness="error")
        self.whole: Step = compiled(self) if compiles else Traced(self)

    def __call__(
        self, rows: Row, x_KB: Tensor, y_KB: Tensor, now: Numbers, constants: Mapping[str, Tensor]
    ) -> tuple[Tensor, Row]:
        """Losses (K,), and what of `rows` is another after the step. Changes nothing in place."""
        value_K, gradient_KP, kept = self.gradient(rows, x_KB, y_KB, now)
        with torch.no_grad():
            moved = self.move(rows, gradient_KP, kept, now, constants)
            # a member's number is a float64 of no dimension, which a stack of them is not: torch may widen by it
            return value_K, {name: tensor.to(rows[name].dtype) for name, tensor in moved.items()}

    def gradient(self, rows: Row, x_KB: Tensor, y_KB: Tensor, now: Numbers) -> tuple[Tensor, Tensor, Row]:
        """Losses (K,), the gradients that the optimizer gets (K, P), and the buffers after the forward pass."""
        kept = {name[5:]: tensor for name, tensor in rows.items() if name.startswith("kept.")}
        found: tuple[Tensor, Tensor, Row] = self._gradients(rows["weights"], kept, x_KB, y_KB, *now.tensors())
        return found

    def _gradient(self, theta_P: Tensor, kept: Row, x_B: Tensor, y_B: Tensor, *numbers: Any) -> Any:
        """One member's."""
        now = self._now(*numbers)
        weights = self.form.layout.views(theta_P)
        x_B, y_B = self.slots.mix(x_B, y_B, now)
        after = kept

        def compute(at: Weights) -> tuple[Tensor, Gradients]:
            nonlocal after
            loss_at = partial(self._loss_at, kept=kept, x_B=x_B, y_B=y_B, now=now)
            gradients, (_, (value, left)) = grad_and_value(loss_at, has_aux=True)(dict(at))
            if at is weights:  # what a forward counts (norm statistics) counts once a step, at the weights themselves
                after = left
            return value, gradients

        value, gradients = self.slots.gradient(compute, weights, now)
        return value, self.form.layout.vector(gradients), after

    def _loss_at(self, weights: Weights, kept: Row, x_B: Tensor, y_B: Tensor, now: Now) -> Any:
        """Loss with penalty, then without it and the buffers after the forward pass."""
        everything = {**weights, **{name: tensor.clone() for name, tensor in kept.items()}}
        loss = self.run.reported_loss.at(now.under("loss")).training(self.task, self.device)
        smoothing = self.run.config.regularization.smoothing(now)
        self.masks.begin(now)
        with self.masks.forward(), self.autocast():
            value = loss(functional_call(self.net, everything, (x_B,)), y_B, x_B, smoothing)
        self.masks.forget()
        left = {name: everything[name].detach() for name in kept}
        return self.slots.penalty(weights, value, now), (value.detach(), left)

    def _now(self, first: Tensor, second: Tensor, step: Tensor, steps: Tensor, values: Mapping[str, Tensor]) -> Now:
        return Now(step, steps, values, MemberDraws(first, second, step, self.device))

    # ---------------------------------------------------------- after the gradient

    def move(self, rows: Row, gradient_KP: Tensor, kept: Row, now: Numbers, constants: Mapping[str, Tensor]) -> Row:
        """What of `rows` is another after the step: by the optimizer, what bounds the weights, and averages."""
        moved = self.form.rule.step(rows["weights"], gradient_KP, rows, constants)
        moved |= {f"kept.{name}": tensor for name, tensor in kept.items()}
        if self.slots.bound is not no_bound:
            moved["weights"] = vmap(self._bound)(moved["weights"], *now.tensors())
        ahead = {name: moved.get(name, tensor) for name, tensor in rows.items() if _is_of_net(name)}
        for i, average in enumerate(self.averages):
            share_K = vmap(partial(self._share, average))(*now.tensors()).float()
            ahead = {
                name: _follow(rows[f"average{i}.{name}"], new, share_K)
                if new.is_floating_point() and (name == "weights" or average.norms == "average")
                else new
                for name, new in ahead.items()
            }
            moved |= {f"average{i}.{name}": tensor for name, tensor in ahead.items()}
        return moved

    def _bound(self, theta_P: Tensor, *numbers: Any) -> Tensor:
        return self.form.layout.vector(self.slots.bound(self.form.layout.views(theta_P), self._now(*numbers)))

    def _share(self, average: Following, *numbers: Any) -> Tensor:
        return torch.as_tensor(average.share(self._now(*numbers)), device=self.device)

    # ------------------------------------------------------------- evaluation

    def measure(self, rows: Row, now: Numbers) -> dict[str, Tensor]:
        """`val_loss`, `val_accuracy` ... of all members, (K,). now: any step's, for the loss's own numbers."""
        data = self.run.data
        x_N, y_N = data.splits["val"]
        scores_KN = self.scores(rows, x_N)
        found = {"val_loss": vmap(self._loss, (0, None, 0))(scores_KN, y_N, now.under("loss"))}
        for name, metric in data.metrics.items():
            if metric.packable:
                found[f"val_{name}"] = vmap(metric.value, (0, None))(scores_KN, y_N)
            else:
                found[f"val_{name}"] = torch.stack([metric.value(scores_N, y_N) for scores_N in scores_KN])
        return found

    def scores(self, rows: Row, x_N: Tensor) -> Tensor:
        """The scores of all members, (K, N, ...) float32, at their outermost average where there is one."""
        begin = f"average{len(self.averages) - 1}." if self.averages else ""
        own = {name.removeprefix(begin): tensor for name, tensor in rows.items() if name.startswith(begin)}
        own = {name: tensor for name, tensor in own.items() if _is_of_net(name)}
        chunks = torch.split(x_N, max(1, SCORED_AT_ONCE // len(own["weights"])))
        self.net.eval()
        found = torch.cat([vmap(self._scores, (0, None))(own, x_B) for x_B in chunks], 1).float()
        self.net.train()
        return found

    def _scores(self, own: Row, x_B: Tensor) -> Tensor:
        kept = {name[5:]: tensor for name, tensor in own.items() if name != "weights"}

        def scored(weights: Weights) -> Any:
            return functional_call(self.net, {**weights, **kept}, (x_B,))

        weights = self.form.layout.views(own["weights"])
        scores: Tensor = vjp(scored, weights)[0] if self.scores_as_in_training else scored(weights)
        return scores

    def _loss(self, scores_N: Tensor, y_N: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return self.run.reported_loss.at(numbers).value(scores_N, y_N)


def _is_of_net(name: str) -> bool:
    return name == "weights" or name.startswith("kept.")


def _follow(old_K: Tensor, new_K: Tensor, share_K: Tensor) -> Tensor:
    """Where the average of one tensor is after a step."""
    return old_K.lerp(new_K, share_K.view(-1, *[1] * (old_K.dim() - 1)))
