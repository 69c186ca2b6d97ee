"""Seeds that hang on the sweep's seed and a trial's number only, so that nothing depends on when a trial was asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


def trial_seed(seed: int, number: int) -> int:
    """The seed a trial trains with: blake2b of (sweep's seed, trial's number), 31 bits, the same at every attempt."""
    return _digest(f"{seed}:{number}", b"trial") >> 1


class SeededSampler(BaseSampler):
    """Any sampler, its random states set anew from (seed, trial number) before each trial.

    So the same seed and the same history give the same next suggestion, in this process or after a restart. What the
    sampler draws for different trials stays independent: the states come from a hash.

    inner: the sampler that does the work. forget: its attributes that carry memory from one ask to the next (a warm
    start, say); they are set to None before each trial, because a restarted process would not have them.
    alone: parameters to keep out of the sampler's joint model, drawn one by one. A model over a fixed set of parameters
    (CMA-ES, GP, QMC) meets those of branches in some trials only and breaks, or gives up for good, when they vanish.
    Costs a few microseconds a trial. Call from one thread, like the sampler itself.
    """

    def __init__(
        self, inner: BaseSampler, seed: int, forget: Collection[str] = (), alone: Collection[str] = ()
    ) -> None:
        self.inner = inner
        self.seed = seed
        self._forget = tuple(forget)
        self._alone = frozenset(alone)

    def __str__(self) -> str:
        return str(self.inner)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Set every random state of the sampler, and of those it holds, for this trial's number."""
        for i, state in enumerate(_random_states(self.inner)):
            state.seed(_digest(f"{self.seed}:{trial.number}:{i}", b"sampler"))
        for name in self._forget:
            setattr(self.inner, name, None)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does, without the parameters that are to be drawn alone."""
        joint = self.inner.infer_relative_search_space(study, trial)
        return {name: domain for name, domain in joint.items() if name not in self._alone}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the sampler does; an exhausted one calls `study.stop`, which raises RuntimeError outside `optimize`."""
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """As the sampler does; the next trial sets its own seeds all the same."""
        self.inner.reseed_rng()


def _digest(text: str, purpose: bytes) -> int:
    """32 bits, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4, person=purpose).digest(), "big")


def _random_states(sampler: object) -> Iterator[np.random.RandomState]:
    """The random states of a sampler and of what it is made of, each once, in an order that hangs on names only."""
    seen: set[int] = set()

    def walk(part: object) -> Iterator[np.random.RandomState]:
        if id(part) in seen:
            return
        seen.add(id(part))
        for _, value in sorted(getattr(part, "__dict__", {}).items()):
            state = value.rng if isinstance(value, LazyRandomState) else value
            if isinstance(state, np.random.RandomState):
                if id(state) not in seen:
                    seen.add(id(state))
                    yield state
            elif isinstance(value, BaseSampler) or type(value).__module__.startswith("optuna.samplers"):
                yield from walk(value)

    return walk(sampler)
