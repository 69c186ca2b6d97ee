"""Every registered sampler passes the suite that ships; its fields are Optuna's and stay so."""

from __future__ import annotations

import inspect
import subprocess
import sys

import optuna
import pytest

from hpo.errors import UserError
from hpo.search.samplers import Sampler, samplers, seeded
from hpo.search.seeds import SeededSampler, trial_seed
from hpo.space import Choice, Float, Int, Space
from hpo.testing.samplers import FINITE, FINITE_TREE, FLOATS, MIXED, NUMBERS, TREE, SamplerSuite, step

# small enough that the models of all of them are at work within a suite's sixteen trials
QUICK = {
    "tpe": {"n_startup_trials": 4},
    "gp": {"n_startup_trials": 10},
    "nsgaii": {"population_size": 4},
    "nsgaiii": {"population_size": 4},
}
OPTUNA = {
    "brute_force": optuna.samplers.BruteForceSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "grid": optuna.samplers.GridSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
    "nsgaiii": optuna.samplers.NSGAIIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
}
OTHER_DEFAULTS = {("tpe", "multivariate"): True, ("tpe", "group"): True}
NOT_OFFERED = {
    # the sweep's own, or objects that no file can hold
    *("self", "seed", "search_space", "independent_sampler", "constraints_func", "gamma", "weights", "source_trials"),
    *("mutation", "crossover", "reference_points", "elite_population_selection_strategy"),
    *("child_generation_strategy", "after_trial_strategy"),
    # how much Optuna logs is not the user's business: `caveat` says it once
    *("warn_independent_sampling", "warn_asynchronous_seeding"),
    # deprecated by Optuna, gone in its version 6
    *("consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints", "x0", "sigma0"),
    *("restart_strategy", "inc_popsize"),
}


@pytest.mark.parametrize("name", list(samplers))
class TestEverySampler(SamplerSuite):
    @pytest.fixture
    def sampler(self, name: str) -> Sampler:
        return samplers.parse({"name": name, **QUICK.get(name, {})})


class TestVariants(SamplerSuite):
    @pytest.fixture(
        params=[
            {"name": "tpe", "n_startup_trials": 4, "multivariate": False, "group": False},
            {"name": "tpe", "n_startup_trials": 4, "group": False, "constant_liar": False},
            {"name": "cmaes", "with_margin": True},
            {"name": "cmaes", "use_separable_cma": True, "popsize": 4},
            {"name": "cmaes", "lr_adapt": True, "consider_pruned_trials": True},
            {"name": "qmc", "qmc_type": "halton", "scramble": True},
            {"name": "brute_force", "avoid_premature_stop": True},
        ],
        ids=lambda raw: "-".join(str(part) for part in raw),
    )
    def sampler(self, request: pytest.FixtureRequest) -> Sampler:
        return samplers.parse(request.param)


def test_all_of_ours_are_compared() -> None:
    assert set(OPTUNA) == set(samplers)


@pytest.mark.parametrize("name", list(OPTUNA))
def test_fields_are_optunas_arguments_with_its_defaults(name: str) -> None:
    arguments = {k: p.default for k, p in inspect.signature(OPTUNA[name]).parameters.items() if k not in NOT_OFFERED}
    fields = {k: field.default for k, field in samplers.get(name).model_fields.items()}
    assert fields == arguments | {key: value for (who, key), value in OTHER_DEFAULTS.items() if who == name}


@pytest.mark.parametrize("name", list(OPTUNA))
@pytest.mark.parametrize("option", ["seed", "warn_independent_sampling", "nonsense"])
def test_other_options_are_refused(name: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"unknown key of sampler '{name}': '{option}'"):
        samplers.parse({"name": name, option: 1})


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"name": "tpe", "n_startup_trials": "16"}, "n_startup_trials: should be a valid integer, found '16'"),
        ({"name": "tpe", "n_startup_trials": True}, "n_startup_trials: should be a valid integer, found True"),
        ({"name": "tpe", "n_startup_trials": -1}, "n_startup_trials: should be greater than or equal to 0, found -1"),
        ({"name": "tpe", "group": "yes"}, "group: should be a valid boolean, found 'yes'"),
        ({"name": "tpe", "multivariate": False}, "multivariate: false needs group: false too"),
        ({"name": "qmc", "qmc_type": "sobel"}, "qmc_type: should be 'sobol' or 'halton', found 'sobel'"),
        ({"name": "nsgaii", "crossover_prob": 1.5}, "crossover_prob: should be less than or equal to 1, found 1.5"),
        ({"name": "cmaes", "lr_adapt": True, "with_margin": True}, "with_margin and lr_adapt exclude each other"),
        ("tpee", "unknown sampler 'tpee'; did you mean 'tpe'?"),
    ],
)
def test_wrong_options_end_in_a_sentence(raw: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace("?", r"\?")):
        samplers.parse(raw)


def test_grid_refuses_what_it_cannot_write_out() -> None:
    grid = samplers.parse("grid")
    with pytest.raises(UserError, match=r"space\.lr: a grid needs a finite list of values; give it a step"):
        grid.check(MIXED)
    with pytest.raises(UserError, match="cannot hold parameters of a branch") as caught:
        grid.check(TREE)
    assert caught.value.hint is not None
    assert "brute_force" in caught.value.hint
    with pytest.raises(UserError, match="at most 1000000 combinations, found 1000001000"):
        grid.check(Space({"a": Int(0, 1_000_000), "b": Int(1, 1000)}))
    assert grid.limit(FINITE) == 5 * 3 * 2


def test_brute_force_counts_the_leaves_of_a_tree() -> None:
    brute = samplers.parse("brute_force")
    assert brute.limit(FINITE_TREE) == 1 + 3 * (1 + 2)
    with pytest.raises(UserError, match=r"space\.warmup: brute_force needs a finite list of values"):
        brute.check(Space({"kind": Choice({"plain": {}, "warm": {"warmup": Float(0.0, 0.5)}})}))


def test_adapting_learning_rates_needs_parameters_without_steps() -> None:
    adapting = samplers.parse({"name": "cmaes", "lr_adapt": True})
    adapting.check(FLOATS)
    with pytest.raises(UserError, match=r"sampler\.lr_adapt: needs parameters without steps, found depth"):
        adapting.check(MIXED)


def test_caveats_name_what_is_drawn_at_random() -> None:
    assert samplers.parse("tpe").caveat(TREE) is None
    assert samplers.parse("cmaes").caveat(NUMBERS) is None
    assert samplers.parse("cmaes").caveat(MIXED) == "sampler cmaes draws 1 of 3 parameters at random: kind"
    assert samplers.parse("gp").caveat(TREE) == "sampler gp draws 2 of 4 parameters at random: depth, warmup"


def test_falling_back_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    optuna.logging.disable_default_handler()
    try:
        for name in samplers:
            entry = samplers.parse({"name": name, **QUICK.get(name, {})})
            space = FINITE_TREE if entry.limit(FINITE_TREE) and name != "grid" else FINITE if name == "grid" else TREE
            study = optuna.create_study(sampler=entry.build(1, space))
            for _ in range(8):
                step(study, space)
    finally:
        optuna.logging.disable_propagation()
        optuna.logging.enable_default_handler()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_another_process_suggests_the_same() -> None:
    code = (
        "import optuna; from hpo.search.samplers import samplers; from hpo.testing.samplers import TREE, step\n"
        "optuna.logging.set_verbosity(optuna.logging.ERROR)\n"
        "study = optuna.create_study(sampler=samplers.parse({'name': 'tpe', 'n_startup_trials': 4}).build(7, TREE))\n"
        "print([step(study, TREE) for _ in range(12)])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert "kind" in runs[0]


def test_a_seeded_sampler_is_not_wrapped_twice() -> None:
    once = seeded(optuna.samplers.RandomSampler(), 3)
    assert seeded(once, 3) is once
    assert isinstance(seeded(once, 4), SeededSampler)
    assert seeded(once, 4) is not once


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_nested_samplers_are_seeded_too() -> None:
    def values(seed: int) -> list[float]:
        inner = optuna.samplers.TPESampler(n_startup_trials=0)
        fixed = optuna.samplers.PartialFixedSampler(
            {"depth": 4}, optuna.samplers.CmaEsSampler(independent_sampler=inner)
        )
        study = optuna.create_study(sampler=seeded(fixed, seed))
        return [step(study, MIXED)["lr"] for _ in range(8)]

    assert values(1) == values(1)
    assert values(1) != values(2)


def test_draws_of_different_trials_are_independent() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    study = optuna.create_study(sampler=samplers.parse("random").build(0, space))
    xs = sorted(step(study, space)["x"] for _ in range(400))
    # Kolmogorov-Smirnov against uniform at one in a thousand
    assert max(abs(x - i / 400) for i, x in enumerate(xs)) < 1.95 / 400**0.5


def test_trial_seeds_fit_31_bits_and_never_change() -> None:
    seeds = [trial_seed(0, number) for number in range(1000)]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 1000
    assert seeds[:3] == [trial_seed(0, number) for number in range(3)]
    assert trial_seed(0, 1) != trial_seed(1, 0)


def test_listing_and_checking_import_neither_optuna_nor_torch() -> None:
    code = (
        "import sys; from hpo.search.samplers import samplers; from hpo.search.pruners import pruners\n"
        "from hpo.space import Choice, Float, Space; from hpo import yaml12\n"
        "space = Space.parse(yaml12.load('lr: {low: 1e-4, high: 1.0, log: true}', 'f'))\n"
        "samplers.describe(); pruners.describe(); samplers.parse('tpe').check(space); pruners.parse('hyperband')\n"
        "heavy = {'optuna', 'torch', 'ray', 'sqlalchemy', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
