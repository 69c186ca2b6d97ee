"""What every sampler entry must do, as a class of tests to inherit.

class TestMine(SamplerSuite):
    @pytest.fixture
    def sampler(self) -> Sampler:
        return samplers.parse("mine")
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from hpo.errors import UserError
from hpo.search.samplers import Sampler
from hpo.space import Choice, Float, Int, Space

FINITE = Space({"lr": Float(0.0, 1.0, step=0.25), "depth": Int(1, 3), "kind": Choice(["a", "b"])})
FLOATS = Space({"lr": Float(1e-4, 1.0, log=True), "x": Float(-1.0, 1.0)})
NUMBERS = Space({"lr": Float(1e-4, 1.0, log=True), "x": Float(-1.0, 1.0), "width": Int(1, 64, log=True)})
MIXED = Space({"lr": Float(1e-4, 1.0, log=True), "depth": Int(2, 8, step=2), "kind": Choice(["a", "b", "c"])})
FINITE_TREE = Space(
    {"kind": Choice({"plain": {}, "deep": {"depth": Int(1, 3), "head": Choice({"x": {}, "y": {"n": Int(0, 1)}})}})}
)
TREE = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "kind": Choice({"plain": {}, "warm": {"warmup": Float(0.0, 0.5)}, "deep": {"depth": Int(1, 4)}}),
    }
)
SPACES = {
    "finite": FINITE,
    "floats": FLOATS,
    "numbers": NUMBERS,
    "mixed": MIXED,
    "finite_tree": FINITE_TREE,
    "tree": TREE,
}
"""Spaces of every shape; a sampler must accept at least one."""

ASKS = 16
RESTARTS = (0, 1, 5, 12)


def open_study(path: Path, sampler: optuna.samplers.BaseSampler, objectives: int = 1) -> optuna.Study:
    """A study in a journal file; opened again it reads everything back, as after a restart."""
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    directions = [StudyDirection.MINIMIZE] * objectives
    return optuna.create_study(
        study_name="s", storage=storage, sampler=sampler, directions=directions, load_if_exists=True
    )


def score(params: dict[str, Any]) -> float:
    """A number that hangs on the parameters only."""
    return sum((v - 0.3) ** 2 if isinstance(v, int | float) else len(v) * 0.1 for v in params.values())


def step(study: optuna.Study, space: Space) -> dict[str, Any]:
    """Ask, score and tell one trial; its parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notices at an ask are not shown in a sweep either
        trial = study.ask()
        params = space.suggest(trial)
    values = [score(params) + i for i in range(len(study.directions))]
    # an exhausted sampler calls Study.stop, which Optuna allows inside `optimize` only
    study._thread_local.in_optimize_loop = True
    study.tell(trial, values)
    study._thread_local.in_optimize_loop = False
    return params


class SamplerSuite:
    """Tests of one sampler entry; a subclass gives it as the fixture `sampler`."""

    @pytest.fixture
    def sampler(self) -> Sampler:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture(params=list(SPACES))
    def space(self, request: pytest.FixtureRequest, sampler: Sampler) -> Space:
        """A space the sampler takes; where it refuses one, by a UserError and nothing else, another stands in."""
        space = SPACES[request.param]
        try:
            sampler.check(space)
        except UserError:
            return self.accepted(sampler)[0]
        return space

    def accepted(self, sampler: Sampler) -> list[Space]:
        """The spaces that the sampler takes."""
        taken = []
        for space in SPACES.values():
            try:
                sampler.check(space)
            except UserError:
                continue
            taken.append(space)
        return taken

    def test_takes_some_space(self, sampler: Sampler) -> None:
        assert self.accepted(sampler)

    def test_survives_being_written_down(self, sampler: Sampler) -> None:
        stored = json.loads(sampler.model_dump_json())
        assert stored.pop("name") == sampler.name
        assert type(sampler).model_validate(stored) == sampler

    def test_suggests_points_of_the_space(self, sampler: Sampler, space: Space) -> None:
        study = optuna.create_study(sampler=sampler.build(3, space))
        for _ in range(min(ASKS, sampler.limit(space) or ASKS)):
            space.validate(step(study, space))

    def test_building_is_silent(self, sampler: Sampler) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sampler.build(3, self.accepted(sampler)[0])

    def test_restarts_change_no_suggestion(self, sampler: Sampler, space: Space, tmp_path: Path) -> None:
        asks = min(ASKS, sampler.limit(space) or ASKS)
        straight = open_study(tmp_path / "straight", sampler.build(7, space))
        expected = [step(straight, space) for _ in range(asks)]
        found = []
        for ask in range(asks):
            if ask in RESTARTS:
                study = open_study(tmp_path / "cut", sampler.build(7, space))
            found.append(step(study, space))
        assert found == expected

    def test_another_seed_suggests_otherwise(self, sampler: Sampler, space: Space) -> None:
        def run(seed: int) -> list[dict[str, Any]]:
            study = optuna.create_study(sampler=sampler.build(seed, space))
            return [step(study, space) for _ in range(4)]

        assert run(1) != run(2)

    def test_says_truly_whether_it_takes_several_objectives(self, sampler: Sampler, tmp_path: Path) -> None:
        space = self.accepted(sampler)[0]
        if sampler.single_objective_only:
            with pytest.raises(UserError, match="one objective"):
                sampler.check(space, objectives=2)
            return
        sampler.check(space, objectives=2)
        study = open_study(tmp_path / "two", sampler.build(7, space), objectives=2)
        for _ in range(min(12, sampler.limit(space) or 12)):
            space.validate(step(study, space))

    def test_gives_as_many_points_as_it_says(self, sampler: Sampler) -> None:
        for space in self.accepted(sampler):
            limit = sampler.limit(space)
            if limit is not None:
                study = optuna.create_study(sampler=sampler.build(7, space))
                points = [step(study, space) for _ in range(limit)]
                assert len({tuple(sorted(point.items())) for point in points}) == limit
