"""DP-SGD: how a training of which no single example shows differs from any other (Abadi et al. 2016, arXiv:1607.00133).

Opacus finds the gradient of every example, counts epsilon, and knows the layers that cannot be private. All that is
drawn, who is in a batch and the noise, are counted draws (`randomness.py`), so that such a training resumes and is
repeated bit for bit like any other; what that costs is said in docs/privacy.md.

N examples, B of a batch, P trained numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.training.loop import Run
from hpo.training.privacy import EPSILON, Privacy, check_installed
from hpo.training.randomness import Draws
from hpo.training.slots import Compute, Gradients, Now, Penalty, Slots, Weights, no_penalty

NEAR = 1e-3
"""By how much, of its largest number, a gradient may be off in the two comparisons before the first step."""


class PrivateRun(Run):
    """A run whose batches are drawn, whose gradients are clipped one by one, summed and noised, and counted.

    Raises UserError, before the first step, for a model, loss or data that lets examples of a batch act on each other.
    """

    def __init__(self, *args: Any, **others: Any) -> None:
        check_installed()
        super().__init__(*args, **others)
        if self.trial.workers > 1:
            raise UserError(f"trial.workers: must be 1 beside privacy, found {self.trial.workers}")
        privacy, examples = self.config.privacy, len(self.x_N)
        self.rate = self.config.batch_size / examples
        self.ledger = Ledger(privacy, self.rate, self.steps * self.config.epochs, examples)
        self.state["privacy"] = self.ledger
        # of the weights alone, its gradient is added to what is private already
        self.private.penalty, self.computing.penalty = self.slots.penalty, no_penalty
        self.private.deviation = self.ledger.noise * privacy.max_grad_norm
        self.hooks = _hooks(self.net)
        self.sizes: list[int] = []
        self._check_examples_are_apart()

    def empty_slots(self, slots: Slots) -> Slots:
        """The gradient slot is DP-SGD's; what regularizers do to gradients, they do to what it gives."""
        names = [name for name, parameter in slots.net.named_parameters() if parameter.requires_grad]
        self.private = PrivateGradient(self.config.privacy.max_grad_norm, self.config.batch_size, names)
        return replace(slots, gradient=self.private)

    def one_epoch(self, epoch: int) -> list[Tensor]:
        """As every run, from the batches' sizes on."""
        self.sizes.clear()
        return super().one_epoch(epoch)

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """The rows of each step: every example with the probability batch_size / N, whoever else is there (Poisson).

        That is what makes epsilon what the accountant says it is. A batch may be larger than batch_size, and empty.
        """
        device, least = self.x_N.device, int(self.rate * 2**32)  # rounded down: not more often than is counted
        for step in range(epoch * self.steps, (epoch + 1) * self.steps):
            bits_N = Draws(self.random.member, step, device).bits("privacy.batch", len(self.x_N))
            yield (bits_N < least).nonzero()[:, 0]

    def gradients(self, rows_B: Tensor, now: Now) -> tuple[Tensor, Gradients]:
        """As every run; of an empty batch the loss is 0, and what the optimizer gets is noise."""
        self.sizes.append(len(rows_B))
        self.ledger.step()
        if not len(rows_B):
            return self.slots.gradient(self._nothing, self.weights, now)
        with self._looking():
            return super().gradients(rows_B, now)

    def _nothing(self, weights: Weights) -> tuple[Tensor, Gradients]:
        del weights
        return torch.zeros((), device=self.x_N.device), {}

    def mean_over_examples(self, losses_S: Tensor) -> Tensor:
        """The mean over the examples that were drawn."""
        sizes_S = torch.tensor(self.sizes, dtype=losses_S.dtype, device=losses_S.device)
        return (losses_S * sizes_S).sum() / sizes_S.sum().clamp(min=1)

    def measured(self, losses: Sequence[Tensor]) -> dict[str, float]:
        """The epoch's metrics, and the epsilon that was spent until its end."""
        return {**super().measured(losses), EPSILON: self.ledger.epsilon()}

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Opacus' hooks work: a backward pass leaves the gradients of its examples at the weights."""
        self.hooks.enable_hooks()
        try:
            yield
        finally:
            self.hooks.disable_hooks()

    # ------------------------------------------------------------ before the first step

    def _check_examples_are_apart(self) -> None:
        """The first example's gradient must be the same whoever is beside it, and the batch's the mean of all.

        The one finds what mixes examples (a user's own norm over the batch), the other what Opacus does not see.
        """
        rows_B = torch.arange(min(4, len(self.x_N)), device=self.x_N.device)
        plain, beside = self._seen(rows_B)
        _, alone = self._seen(torch.zeros_like(rows_B))
        for name in self.weights:
            if name not in plain and name not in beside:
                continue
            if name not in beside or not _alike(beside[name].mean(0), plain[name], plain):
                raise UserError(
                    f"privacy: the model uses its {name} where Opacus does not see it; "
                    "a weight has to act in the forward of the layer that holds it"
                )
            if not _alike(beside[name][0], alone[name][0], {n: g[0] for n, g in beside.items()}):
                raise UserError(
                    "privacy: an example's gradient hangs on the others of its batch, so that it cannot be clipped by "
                    "itself; the model, or what is done to batches, must take each example by itself"
                )

    def _seen(self, rows_B: Tensor) -> tuple[Gradients, dict[str, Tensor]]:
        """The plain gradient of a batch at the first step, and those of its examples; nothing is left changed."""
        self.random.start("privacy")
        now = Now(0, 1, next(iter(self.curves.between(0, 1))), Draws(self.random.member, 0, self.x_N.device))
        before = [buffer.clone() for buffer in self.net.buffers()]
        x_B, y_B = self.slots.mix(self.x_N.index_select(0, rows_B), self.y_N.index_select(0, rows_B), now)
        with self._looking():
            _, plain = self.computing.at(x_B, y_B, now)(self.weights)
        for buffer, value in zip(self.net.buffers(), before, strict=True):
            buffer.copy_(value)
        return plain, _taken(self.weights)


class PrivateGradient:
    """The gradient slot of DP-SGD: (sum of the clipped gradients + noise) / expected size of a batch, and penalties'.

    deviation: of the noise. penalty: of the weights alone, what it adds is not clipped.
    """

    def __init__(self, max_norm: float, expected: int, names: Sequence[str]) -> None:
        """names: of the weights, in the order in which the noise is drawn for them."""
        self.max_norm, self.expected, self.names = max_norm, expected, names
        self.deviation = 0.0
        self.penalty: Penalty = no_penalty

    def __call__(self, compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
        """See slots."""
        value, _ = compute(weights)
        sums = clipped_sums(_taken(weights), self.max_norm)
        noise = self.noise(weights, now.draws)
        found = {}
        for name, weight in weights.items():
            # a weight that no example moved gets its noise too: that none did is a secret as well
            noised = sums[name] + noise[name] if name in sums else noise[name]
            found[name] = (noised / self.expected).to(weight.dtype)
        for name, gradient in self._of_penalty(weights, now).items():
            found[name] = found[name] + gradient
        return value, found

    def noise(self, weights: Weights, draws: Draws) -> dict[str, Tensor]:
        """Normal numbers of `deviation` for all weights, float32, one draw of all.

        Each is made of two: one alone ends at 5.8 deviations, and with thousands of numbers in thousands of steps what
        lies beyond is no less than a usual delta.
        """
        counts = [weights[name].numel() for name in self.names]
        two_2P = draws.normal("privacy.noise", (2, sum(counts)))
        noise_P = (two_2P[0] + two_2P[1]) * (self.deviation / math.sqrt(2))
        parts = zip(self.names, torch.split(noise_P, counts), strict=True)
        return {name: part.view_as(weights[name]) for name, part in parts}

    def _of_penalty(self, weights: Weights, now: Now) -> Gradients:
        if self.penalty is no_penalty:
            return {}
        value = self.penalty(weights, torch.zeros((), device=next(iter(weights.values())).device), now)
        found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        return {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}


def clipped_sums(gradients: Mapping[str, Tensor], max_norm: float) -> dict[str, Tensor]:
    """The sums over examples of their gradients (B, ...), each cut to `max_norm` over all weights as Opacus cuts it."""
    if not gradients:
        return {}
    norms_BW = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()], dim=1)
    share_B = (max_norm / (torch.linalg.vector_norm(norms_BW, dim=1) + 1e-6)).clamp(max=1.0)
    return {name: torch.tensordot(share_B.to(g.dtype), g, dims=1) for name, g in gradients.items()}


def _taken(weights: Weights) -> dict[str, Tensor]:
    """The gradients (B, ...) that Opacus left at the weights, which are taken from there."""
    found = {}
    for name, weight in weights.items():
        sample = getattr(weight, "grad_sample", None)
        if sample is not None:
            found[name] = sample
            weight.grad_sample = None  # type: ignore[attr-defined]
    return found


def _alike(found: Tensor, expected: Tensor, all_of_them: Mapping[str, Tensor]) -> bool:
    size = max(float(gradient.abs().max()) for gradient in all_of_them.values())
    return bool((found - expected).abs().max() <= NEAR * size)


def _hooks(net: nn.Module) -> Any:
    """Opacus' hooks on a network, not at work yet. Raises UserError for layers that cannot be private."""
    from opacus.grad_sample.grad_sample_module import GradSampleHooks
    from opacus.validators import ModuleValidator

    for name, module in net.named_modules():
        validate = ModuleValidator.VALIDATORS.get(type(module))
        if validate is not None and validate(module):
            fixed = type(ModuleValidator.FIXERS[type(module)](module)).__name__
            instead = f"use opacus.layers.{fixed}" if fixed.startswith("DP") else f"use {fixed} or LayerNorm"
            kind = type(module).__name__
            if fixed == kind:
                instead = "let it track no running statistics"
            raise UserError(f"privacy: the model's {name or 'root'} is a {kind}, which cannot be private; {instead}")
        if getattr(module, "inplace", False):  # what a hook has seen must not be written over; the numbers are the same
            module.inplace = False
    try:
        hooks = GradSampleHooks(net, loss_reduction="mean")
    except NotImplementedError as error:
        raise UserError(f"privacy: the model cannot be private: {' '.join(str(error).split())}") from None
    hooks.disable_hooks()
    # torch's, of the first layer, whose inputs need no gradient: as it should be
    warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
    return hooks


# ---------------------------------------------------------------- epsilon


class Ledger:
    """What was spent: Opacus' accountant of one training, a part of its state. noise: its noise multiplier."""

    def __init__(self, privacy: Privacy, rate: float, steps: int, examples: int) -> None:
        """rate: probability of an example to be in a batch. steps: of the whole training, for a target.

        Raises UserError for a target that no noise reaches.
        """
        from opacus.accountants import create_accountant

        self.rate, self.delta = rate, privacy.delta_for(examples)
        target = privacy.target_epsilon
        self.noise = (
            noise_for(target, self.delta, rate, steps, privacy.accountant) if target else privacy.noise_multiplier
        )
        self.accountant = create_accountant(mechanism=privacy.accountant)

    def step(self) -> None:
        """One optimizer step."""
        self.accountant.step(noise_multiplier=self.noise, sample_rate=self.rate)

    def epsilon(self) -> float:
        """Spent until now."""
        history = [(float(noise), float(rate), int(steps)) for noise, rate, steps in self.accountant.history]
        return epsilon_of(history, self.delta, self.accountant.mechanism())

    def state_dict(self) -> dict[str, Any]:
        """Opacus' history of (noise multiplier, sample rate, steps)."""
        return {"history": [list(entry) for entry in self.accountant.history], "mechanism": self.accountant.mechanism()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        history = [tuple(entry) for entry in state["history"]]
        self.accountant.load_state_dict({"history": history, "mechanism": state["mechanism"]})


def epsilon_of(history: Iterable[tuple[float, float, int]], delta: float, mechanism: str) -> float:
    """The epsilon of (noise multiplier, sample rate, steps) at `delta`, as Opacus' accountant of that name has it.

    At least 0: under much noise the bound of rdp falls below, where 0 holds as well. Of rdp, what one step costs is
    kept: it is most of the work, and the same in all epochs.
    """
    from opacus.accountants import RDPAccountant, create_accountant
    from opacus.accountants.analysis.rdp import get_privacy_spent

    history = list(history)
    if not history:
        return 0.0
    with _without_remarks():
        if mechanism != RDPAccountant.mechanism():
            accountant = create_accountant(mechanism=mechanism)
            accountant.history = history
            return max(0.0, float(accountant.get_epsilon(delta=delta)))
        rdp = sum(_rdp_of_step(rate, noise) * steps for noise, rate, steps in history)
        spent = get_privacy_spent(orders=RDPAccountant.DEFAULT_ALPHAS, rdp=rdp, delta=delta)[0]
        return max(0.0, float(spent))


@lru_cache(maxsize=64)
def _rdp_of_step(rate: float, noise: float) -> Any:
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    return compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=RDPAccountant.DEFAULT_ALPHAS)


@lru_cache(maxsize=64)
def noise_for(target: float, delta: float, rate: float, steps: int, mechanism: str) -> float:
    """The noise multiplier with which `steps` steps spend `target`, at most and to 0.01, by Opacus' search.

    Raises UserError for a target that no noise reaches.
    """
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with _without_remarks():
            found = get_noise_multiplier(
                target_epsilon=target, target_delta=delta, sample_rate=rate, steps=steps, accountant=mechanism
            )
    except ValueError:
        other = "; accountant: prv reaches less" if mechanism == "rdp" else ""
        raise UserError(
            f"privacy.target_epsilon: {target:g} is less than any noise reaches in {steps} steps at delta {delta:.2g} "
            f"by {mechanism}{other}"
        ) from None
    return float(found)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Opacus remarks where another order would state a smaller epsilon; the one it states holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
