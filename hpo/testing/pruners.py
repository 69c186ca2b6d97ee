"""What every pruner entry must do, as a class of tests to inherit.

class TestMine(PrunerSuite):
    @pytest.fixture
    def pruner(self) -> Pruner:
        return pruners.parse("mine")
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from typing import Literal

import optuna
import pytest
from optuna.pruners import BasePruner

from hpo.errors import UserError
from hpo.search.pruners import Pruner

Direction = Literal["minimize", "maximize"]

STEPS = 9
"""The most steps a trial of the random histories reports."""


def decisions(
    pruner: BasePruner,
    direction: Direction,
    seed: int,
    nan: bool = False,
    rebuild: Callable[[], BasePruner] | None = None,
) -> list[tuple[int, int, bool]]:
    """What `pruner` says on a random history: (trial, step, stop?) in order, four trials side by side.

    nan: whether some reports are NaN. rebuild: makes the pruner anew, as after a restart, every few decisions.
    """
    rng = random.Random(seed)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(study_name="history", direction=direction, sampler=sampler, pruner=pruner)
    said: list[tuple[int, int, bool]] = []
    for _ in range(10):
        running = {trial: rng.gauss(0, 1) for trial in [study.ask() for _ in range(4)]}
        for step in range(1, STEPS + 1):
            for trial in list(running):
                running[trial] += rng.gauss(0, 0.3)
                if rebuild is not None and len(said) % 7 == 3:
                    study.pruner = rebuild()
                trial.report(float("nan") if nan and rng.random() < 0.05 else running[trial], step)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # NumPy's and Optuna's notices about NaN
                    stop = trial.should_prune()
                said.append((trial.number, step, stop))
                if stop:
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    del running[trial]
        for trial, value in running.items():
            study.tell(trial, value)
    return said


class PrunerSuite:
    """Tests of one pruner entry; a subclass gives it as the fixture `pruner`."""

    max_resource: int | None = STEPS

    @pytest.fixture
    def pruner(self) -> Pruner:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def reference(self, pruner: Pruner) -> BasePruner:
        """What it must agree with: here itself, built again, as after a restart; better, Optuna's made directly."""
        return pruner.build(self.max_resource)

    def test_survives_being_written_down(self, pruner: Pruner) -> None:
        stored = json.loads(pruner.model_dump_json())
        assert stored.pop("name") == pruner.name
        assert type(pruner).model_validate(stored) == pruner

    @pytest.mark.parametrize("nan", [False, True])
    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_decides_as_its_reference(
        self, pruner: Pruner, reference: BasePruner, direction: Direction, nan: bool
    ) -> None:
        built = pruner.build(self.max_resource)
        assert decisions(built, direction, 5, nan) == decisions(reference, direction, 5, nan)

    @pytest.mark.parametrize("max_resource", [STEPS, None])
    def test_a_restart_changes_no_decision(self, pruner: Pruner, max_resource: int | None) -> None:
        try:
            built = pruner.build(max_resource)
        except UserError:
            return  # it cannot do without a resource
        cut = decisions(built, "minimize", 5, rebuild=lambda: pruner.build(max_resource))
        assert cut == decisions(pruner.build(max_resource), "minimize", 5)

    def test_says_truly_whether_it_takes_several_objectives(self, pruner: Pruner) -> None:
        if pruner.single_objective_only:
            with pytest.raises(UserError, match="one objective"):
                pruner.check(steps_are_epochs=False, objectives=2)
        else:
            pruner.check(steps_are_epochs=False, objectives=2)

    def test_refuses_epochs_when_steps_are_instances(self, pruner: Pruner) -> None:
        pruner.check(steps_are_epochs=False)
        if pruner.steps_are_instances:
            with pytest.raises(UserError, match="epochs"):
                pruner.check(steps_are_epochs=True)

    def test_a_trial_that_it_stops_says_why(self, pruner: Pruner) -> None:
        study = optuna.create_study(study_name="s", direction="maximize", pruner=pruner.build(self.max_resource))
        for number in range(40):
            trial = study.ask()
            for step in range(1, STEPS + 1):
                trial.report((STEPS - step) / 10 - number, step)
                if trial.should_prune():
                    reason = pruner.reason(study, study.get_trials(deepcopy=False)[-1])
                    assert reason.startswith(f"pruned at step {step} by {pruner.name}: ")
                    return
            study.tell(trial, -number)
        assert not pruner.decides

    def test_gives_a_reason_with_step_and_value(self, pruner: Pruner) -> None:
        study = optuna.create_study(pruner=pruner.build(self.max_resource))
        trial = study.ask()
        trial.report(0.5, 1)
        trial.report(0.812, 6)
        frozen = study.get_trials(deepcopy=False)[0]
        reason = pruner.reason(study, frozen)
        assert pruner.name in reason
        assert "step 6" in reason
        assert "0.812" in reason
