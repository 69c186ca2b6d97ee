"""Every registered pruner passes the suite that ships and decides as Optuna's, made directly, does."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner

from hpo.errors import UserError
from hpo.search.pruners import Pruner, pruners
from hpo.testing.pruners import STEPS, PrunerSuite, decisions

OPTUNA: dict[str, type[BasePruner]] = {
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
    "none": optuna.pruners.NopPruner,
    "patient": optuna.pruners.PatientPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}
RENAMED = {"wrapped_pruner": "wrapped"}
OTHER_DEFAULTS = {("patient", "wrapped"): None}  # the same as Optuna's null, which there must be written

# options by which each has something to decide on the suite's histories, and Optuna's pruner with the same
CASES: list[tuple[dict[str, Any], Callable[[], BasePruner]]] = [
    ({"name": "none"}, lambda: optuna.pruners.NopPruner()),
    ({"name": "median"}, lambda: optuna.pruners.MedianPruner()),
    (
        {"name": "median", "n_startup_trials": 3, "n_warmup_steps": 2, "interval_steps": 2, "n_min_trials": 4},
        lambda: optuna.pruners.MedianPruner(3, 2, 2, n_min_trials=4),
    ),
    ({"name": "percentile", "percentile": 30}, lambda: optuna.pruners.PercentilePruner(30.0)),
    ({"name": "successive_halving"}, lambda: optuna.pruners.SuccessiveHalvingPruner()),
    (
        {"name": "successive_halving", "min_resource": 1, "reduction_factor": 2, "bootstrap_count": 2},
        lambda: optuna.pruners.SuccessiveHalvingPruner(1, 2, bootstrap_count=2),
    ),
    ({"name": "hyperband"}, lambda: optuna.pruners.HyperbandPruner(max_resource=STEPS)),
    (
        {"name": "hyperband", "min_resource": 2, "max_resource": 6, "reduction_factor": 2, "bootstrap_count": 1},
        lambda: optuna.pruners.HyperbandPruner(2, 6, 2, 1),
    ),
    ({"name": "threshold", "lower": -1, "upper": 1.5}, lambda: optuna.pruners.ThresholdPruner(-1.0, 1.5)),
    (
        {"name": "patient", "wrapped": {"name": "median"}, "patience": 1},
        lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), 1),
    ),
    ({"name": "patient", "patience": 2, "min_delta": 0.1}, lambda: optuna.pruners.PatientPruner(None, 2, 0.1)),
    ({"name": "wilcoxon", "p_threshold": 0.2}, lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.2)),
]


# Wilcoxon's notices about NaN and few steps, which Optuna's own pruner gives as well
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("raw", "direct"), CASES, ids=[str(raw["name"]) for raw, _ in CASES])
class TestEveryPruner(PrunerSuite):
    @pytest.fixture
    def pruner(self, raw: dict[str, Any], direct: Callable[[], BasePruner]) -> Pruner:
        return pruners.parse(raw)

    @pytest.fixture
    def reference(self, pruner: Pruner, direct: Callable[[], BasePruner]) -> BasePruner:
        return direct()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("raw", "direct"), CASES[1:], ids=[str(raw["name"]) for raw, _ in CASES[1:]])
def test_the_histories_give_each_something_to_stop(raw: dict[str, Any], direct: Callable[[], BasePruner]) -> None:
    said = [stop for _, _, stop in decisions(pruners.parse(raw).build(STEPS), "minimize", 5)]
    assert any(said)
    assert not all(said)


def test_all_of_ours_are_compared() -> None:
    assert set(OPTUNA) == set(pruners) == {str(raw["name"]) for raw, _ in CASES}


@pytest.mark.parametrize("name", list(OPTUNA))
def test_fields_are_optunas_arguments_with_its_defaults(name: str) -> None:
    own = OPTUNA[name].__dict__.get("__init__")
    parameters = list(inspect.signature(own).parameters.values())[1:] if own else []
    arguments = {RENAMED.get(p.name, p.name): p.default for p in parameters}
    arguments |= {key: value for (who, key), value in OTHER_DEFAULTS.items() if who == name}
    fields = {
        key: inspect.Parameter.empty if field.is_required() else field.default
        for key, field in pruners.get(name).model_fields.items()
    }
    assert fields == arguments


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("medain", "unknown pruner 'medain'; did you mean 'median'"),
        ("percentile", "percentile: missing"),
        ({"name": "percentile", "percentile": 101}, "percentile: should be less than or equal to 100, found 101"),
        (
            {"name": "median", "n_startup": 3},
            "unknown key of pruner 'median': 'n_startup'; did you mean 'n_startup_trials'",
        ),
        ({"name": "median", "interval_steps": 0}, "interval_steps: should be greater than or equal to 1, found 0"),
        (
            {"name": "hyperband", "max_resource": "all"},
            "max_resource: must be a whole number from 1, or auto, found 'all'",
        ),
        (
            {"name": "hyperband", "max_resource": True},
            "max_resource: must be a whole number from 1, or auto, found True",
        ),
        (
            {"name": "hyperband", "reduction_factor": 1},
            "reduction_factor: should be greater than or equal to 2, found 1",
        ),
        (
            {"name": "successive_halving", "min_resource": 0},
            "min_resource: must be a whole number from 1, or auto, found 0",
        ),
        ({"name": "successive_halving", "bootstrap_count": 2}, "bootstrap_count needs min_resource as a number"),
        ("threshold", "needs lower, upper or both, found neither"),
        ({"name": "threshold", "lower": 2, "upper": 1}, "lower must not be above upper, found lower 2.0 and upper 1.0"),
        ({"name": "threshold", "lower": float("nan")}, "lower: should be a finite number, found nan"),
        ("patient", "patience: missing"),
        ({"name": "patient", "patience": 1, "wrapped": "medin"}, "wrapped: unknown pruner 'medin'"),
        (
            {"name": "patient", "patience": 1, "wrapped": {"name": "median", "x": 1}},
            "wrapped: unknown key of pruner 'median'",
        ),
    ],
)
def test_wrong_options_end_in_a_sentence(raw: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pruners.parse(raw)


def test_hyperband_takes_its_resource_from_the_configuration_unless_given() -> None:
    def most(raw: dict[str, Any], max_resource: int | None) -> object:
        return vars(pruners.parse({"name": "hyperband", **raw}).build(max_resource))["_max_resource"]

    assert most({}, 20) == 20
    assert most({"max_resource": 12}, 20) == 12
    assert most({}, None) == "auto"


def test_hyperband_refuses_what_leaves_no_bracket() -> None:
    with pytest.raises(
        UserError, match=r"pruner\.min_resource: must not be above the most steps of a trial, 20, found 30"
    ):
        pruners.parse({"name": "hyperband", "min_resource": 30}).build(20)
    with pytest.raises(UserError, match=r"pruner\.bootstrap_count: needs max_resource as a number"):
        pruners.parse({"name": "hyperband", "bootstrap_count": 1}).build(None)
    assert pruners.parse({"name": "hyperband", "bootstrap_count": 1}).build(20)


def test_a_wrapped_pruner_is_checked_too() -> None:
    raw = {"name": "patient", "patience": 1, "wrapped": "wilcoxon"}
    with pytest.raises(UserError, match="wilcoxon compares steps as problem instances"):
        pruners.parse(raw).check(steps_are_epochs=True)
    pruners.parse(raw).check(steps_are_epochs=False)


def test_a_reason_before_any_report_has_no_step() -> None:
    study = optuna.create_study()
    study.ask()
    assert pruners.parse("median").reason(study, study.get_trials()[0]) == "pruned by median"


def test_hyperband_under_a_seeded_sampler_learns_within_its_bracket() -> None:
    """Optuna hands the sampler a study filtered to the bracket; the wrapper must not reach around it."""
    from hpo.search.samplers import samplers
    from hpo.testing.samplers import NUMBERS

    entry = samplers.parse({"name": "tpe", "n_startup_trials": 2})
    hyperband = pruners.parse("hyperband").build(STEPS)
    study = optuna.create_study(study_name="s", sampler=entry.build(1, NUMBERS), pruner=hyperband)
    for _ in range(12):
        trial = study.ask()
        params = NUMBERS.suggest(trial)
        for step in range(1, STEPS + 1):
            trial.report(params["x"] ** 2 / step, step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, params["x"] ** 2)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
