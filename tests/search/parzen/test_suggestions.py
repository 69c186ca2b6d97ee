"""On any history every suggestion of ours is that of Optuna's TPESampler in a new process."""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState, create_trial

from hpo.search.parzen.sampler import IndexedTPE
from hpo.search.pruners import pruners
from hpo.search.seeds import SeededSampler
from hpo.space import Choice, Float, Int, Space
from hpo.storage import open_storage
from tests.search.driving import Memory

DEEP = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "kind": Choice(
            {
                "plain": {},
                "warm": {"warmup": Float(0.0, 0.5), "curve": Choice(["a", "b"])},
                "deep": {"depth": Int(1, 40, log=True), "head": Choice({"x": {"drop": Float(0, 1)}, "y": {}})},
            }
        ),
        "width": Int(8, 64, step=8),
    }
)
SPACES = {
    "deep": DEEP,
    "numbers": Space({"lr": Float(1e-5, 1.0, log=True), "x": Float(-1, 1), "n": Int(1, 100), "m": Int(1, 9, log=True)}),
    "steps": Space({"x": Float(0, 1, step=0.25), "y": Float(-3, 3), "n": Int(0, 1000, step=10), "one": Int(4, 4)}),
    "choices": Space({"a": Choice(["u", "v", "w"]), "b": Choice([True, False]), "c": Choice([1, 2.5, "x", None])}),
    "one": Space({"x": Float(0.0, 1.0)}),
}
OPTIONS: list[dict[str, Any]] = [
    {"multivariate": True, "group": True},
    {"multivariate": True, "group": True, "constant_liar": False},
    {"multivariate": True, "group": False},
    {"multivariate": False, "group": False},
    {"multivariate": False, "group": False, "constant_liar": False},
]
SEED = 3


class Pair:
    """One study with a new Optuna sampler for each ask, one with ours, told the same."""

    def __init__(
        self,
        rng: random.Random,
        space: Space,
        options: dict[str, Any],
        ours: BaseStorage,
        objectives: int = 1,
        pruner: str = "none",
    ) -> None:
        self.rng = rng
        self.space = space
        self.options = {"n_startup_trials": rng.choice([0, 3, 10]), **options}
        directions = [rng.choice(list(StudyDirection)[1:]) for _ in range(objectives)]
        built = [pruners.parse(pruner).build(9) for _ in range(2)]
        self.studies = [
            optuna.create_study(study_name="s", storage=storage, directions=directions, pruner=one)
            for storage, one in zip((Memory(), ours), built, strict=True)
        ]
        self.studies[1].sampler = self.new(IndexedTPE)
        self.running: list[tuple[Trial, Trial]] = []
        self.asked = 0

    def new(self, kind: type[TPESampler]) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return SeededSampler(kind(seed=0, **self.options), SEED)

    def act(self) -> None:
        act = self.rng.choices([self.ask, self.end, self.put_back, self.add, self.restart], [10, 8, 1, 2, 0.3])[0]
        if self.running or act not in (self.end, self.put_back):
            act()

    def ask(self) -> None:
        self.studies[0].sampler = self.new(TPESampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, ours = (study.ask() for study in self.studies)
            half = self.rng.random() < 0.1  # nobody asks for its parameters: they are drawn and not written
            expected, found = (trial.relative_params if half else self.space.suggest(trial) for trial in (theirs, ours))
        assert found == expected, (self.options, ours.number)
        assert ours._get_latest_trial().system_attrs == theirs._get_latest_trial().system_attrs
        self.asked += 1
        if self.rng.random() < 0.3 and len(self.studies[0].directions) == 1:
            for trial, value in zip((theirs, ours), [self.value()] * 2, strict=True):
                trial.report(value, 0)
        self.running.append((theirs, ours))

    def value(self) -> float:
        odd = [0.5, 0.5, 0.25, float("inf"), float("-inf")]
        return self.rng.choice(odd) if self.rng.random() < 0.2 else self.rng.random()

    def end(self) -> None:
        pair = self.running.pop(self.rng.randrange(len(self.running)))
        one = len(self.studies[0].directions) == 1
        state = self.rng.choice([TrialState.COMPLETE] * 3 + [TrialState.PRUNED] * one + [TrialState.FAIL])
        curve = {self.rng.randint(1, 9): self.rng.choice([self.value(), float("nan")]) for _ in range(2)} if one else {}
        values = [self.value() for _ in self.studies[0].directions] if state == TrialState.COMPLETE else None
        broken = self.rng.choice([None, None, -1.0, 0.5])
        for study, trial in zip(self.studies, pair, strict=True):
            for step, value in curve.items():
                trial.report(value, step)
            if broken is not None:
                trial.set_constraint("size", broken)
            study.tell(trial, values, state=state)

    def put_back(self) -> None:
        for trial in self.running.pop(self.rng.randrange(len(self.running))):
            trial.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def add(self) -> None:
        """A finished trial from elsewhere, with some of the parameters."""
        if len(self.studies[0].directions) > 1:
            return
        source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.rng.randrange(2**31))).ask()
        params = {name: value for name, value in self.space.suggest(source).items() if self.rng.random() < 0.8}
        domains = {name: source.distributions[name] for name in params}
        state, value = self.rng.choice([(TrialState.COMPLETE, self.value()), (TrialState.FAIL, None)])
        for study in self.studies:
            study.add_trial(create_trial(state=state, value=value, params=params, distributions=domains))

    def restart(self) -> None:
        self.studies[1].sampler = self.new(IndexedTPE)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


BOUNDED = settings(
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32)

pytestmark = pytest.mark.filterwarnings("ignore:The (reported|constraint) value is ignored")  # said twice on purpose


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("space", list(SPACES))
@settings(BOUNDED, max_examples=1)
@given(SEEDS)
def test_in_memory(space: str, options: dict[str, Any], seed: int) -> None:
    run(space, options, seed, 70)


def run(space: str, options: dict[str, Any], seed: int, acts: int, pruner: str = "none", objectives: int = 1) -> None:
    pair = Pair(random.Random(seed), SPACES[space], options, Memory(), objectives, pruner)
    for _ in range(acts):
        pair.act()
    assert pair.asked > acts / 5


@pytest.mark.parametrize("space", list(SPACES))
def test_a_sampler_under_hyperband(space: str) -> None:
    run(space, OPTIONS[0], 1, 50, "hyperband")


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[3]], ids=str)
def test_several_objectives_are_left_to_optuna(options: dict[str, Any]) -> None:
    run("numbers", options, 1, 40, objectives=2)


@pytest.mark.parametrize("space", ["deep", "choices"])
def test_in_sql(space: str) -> None:
    with tempfile.TemporaryDirectory() as folder, open_storage(f"sqlite:///{folder}/study.db") as storage:
        pair = Pair(random.Random(5), SPACES[space], OPTIONS[0], storage.optuna)
        for _ in range(80):
            pair.act()
