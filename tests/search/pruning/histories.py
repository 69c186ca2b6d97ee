"""The same random history told to two studies: one pruned by Optuna's pruner, one by ours."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState, create_trial

STEPS = 9
VALUES = [0.1, 0.2, 0.25, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9]
ODD = [float("nan"), float("inf"), float("-inf")]


class Pair:
    """Their study and ours, one pruner each.

    mine: builds our pruner, as after a restart. storages: theirs and ours; ours may be opened anew by `reopen`.
    """

    def __init__(
        self,
        rng: random.Random,
        direction: str,
        theirs: BasePruner,
        mine: Callable[[], BasePruner],
        storages: tuple[BaseStorage, BaseStorage],
        reopen: Callable[[], BaseStorage] | None = None,
        odd: float = 0.05,
    ) -> None:
        self.rng = rng
        self.odd = odd
        self.reference = theirs
        self.build = mine
        self.reopen = reopen
        sampler = optuna.samplers.RandomSampler(seed=0)
        self.theirs, self.ours = (
            optuna.create_study(study_name="s", direction=direction, storage=storage, sampler=sampler, pruner=pruner)
            for storage, pruner in zip(storages, (theirs, mine()), strict=True)
        )
        self.running: list[tuple[Trial, Trial]] = []
        self.decided: list[tuple[int, int, bool]] = []

    def value(self) -> float:
        if self.rng.random() < self.odd:
            return self.rng.choice(ODD)
        return self.rng.choice(VALUES) + self.rng.choice([0.0, self.rng.random()])

    def act(self) -> None:
        acts: list[Callable[[], None]] = [self.ask, self.train, self.add, self.restart]
        if self.running:
            acts += [self.end, self.put_back, self.report, self.report, self.gap]
        weights = [4, 8, 1, 0.5, 3, 1, 8, 8, 1]
        self.rng.choices(acts, weights[: len(acts)])[0]()

    def ask(self) -> None:
        """A new trial, or one that was put back."""
        theirs, ours = self.theirs.ask(), self.ours.ask()
        assert theirs.number == ours.number
        self.running.append((theirs, ours))

    def train(self) -> None:
        """One trial from start to end."""
        self.ask()
        pair = self.running[-1]
        last = self.rng.randint(0, STEPS)
        for step in range(self.last(pair) + 1, last + 1):
            if self.say(pair, step):
                return self.finish(pair, TrialState.PRUNED)
        return self.finish(pair, TrialState.COMPLETE)

    def report(self) -> None:
        pair = self.rng.choice(self.running)
        if self.say(pair, self.last(pair) + self.rng.choice([1, 1, 1, 2])):
            self.finish(pair, TrialState.PRUNED)

    def gap(self) -> None:
        """A step that was left out is reported late."""
        pair = self.rng.choice(self.running)
        missing = set(range(self.last(pair))) - set(pair[0]._cached_frozen_trial.intermediate_values)
        if missing:
            self.say(pair, min(missing))

    def say(self, pair: tuple[Trial, Trial], step: int) -> bool:
        """Report and compare the decisions; at times a bare Optuna decides on our study."""
        value = self.value()
        for trial in pair:
            trial.report(value, step)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's and Optuna's notices about NaN
            expected = pair[0].should_prune()
            bare = self.rng.random() < 0.1
            pruner = self.ours.pruner
            self.ours.pruner = self.reference if bare else pruner
            found = pair[1].should_prune()
            self.ours.pruner = pruner
        self.decided.append((pair[0].number, step, found))
        assert found == expected, self.decided
        if found and not bare:
            why: Any = pruner
            assert why.why(pair[1]._cached_frozen_trial)
        return found

    def end(self) -> None:
        pair = self.rng.choice(self.running)
        self.finish(pair, self.rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]))

    def finish(self, pair: tuple[Trial, Trial], state: TrialState) -> None:
        self.running = [other for other in self.running if other is not pair]
        value = self.rng.random() if state == TrialState.COMPLETE else None
        self.theirs.tell(pair[0], value, state=state)
        self.ours.tell(pair[1], value, state=state)

    def put_back(self) -> None:
        """RUNNING to WAITING: it is asked again under its number, with its curve."""
        pair = self.running.pop(self.rng.randrange(len(self.running)))
        for trial in pair:
            trial.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def add(self) -> None:
        """A trial that came from elsewhere, finished."""
        curve = {step: self.value() for step in range(self.rng.randint(0, STEPS))}
        state = self.rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
        rungs = {f"completed_rung_{rung}": self.rng.choice(VALUES) for rung in range(self.rng.randint(0, 3))}
        value = self.rng.random() if state == TrialState.COMPLETE else None
        for study in (self.theirs, self.ours):
            study.add_trial(
                create_trial(state=state, value=value, intermediate_values=dict(curve), system_attrs=dict(rungs))
            )

    def restart(self) -> None:
        """Our pruner is built anew from the study alone; theirs goes on."""
        if self.reopen is not None:
            self.ours = optuna.load_study(study_name="s", storage=self.reopen(), sampler=self.ours.sampler)
            self.running = [(theirs, Trial(self.ours, ours._trial_id)) for theirs, ours in self.running]
        self.ours.pruner = self.build()

    @staticmethod
    def last(pair: tuple[Trial, Trial]) -> int:
        step = pair[0]._cached_frozen_trial.last_step
        return 0 if step is None else step

    def nothing_was_lost(self) -> None:
        """The rungs that we keep are those that Optuna would have kept."""
        kept = [
            [{k: v for k, v in trial.system_attrs.items() if k.startswith("completed_rung_")} for trial in study.trials]
            for study in (self.theirs, self.ours)
        ]
        assert kept[0] == kept[1]
        assert not any(math.isnan(value) for rungs in kept[1] for value in rungs.values())
