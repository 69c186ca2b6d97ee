"""What the workers of a trial agree on, and how they part."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from hpo.testing.teams import Workers, workers
from hpo.training import Stopped, Trial, Verdict
from hpo.training.function import Ended
from hpo.training.shard import Shard
from hpo.training.team import ALONE, PATIENCE, Apart, Team, TeamError, shared


def fails(team: Team, rank: int, *, first: bool = False, reports: int = 0) -> str:
    """A trial in which one rank raises or reports too often; how it ended here. first: before the others can end."""

    def run(params: object, trial: Trial) -> Ended:
        if team.rank == rank:
            for step in range(1, reports + 1):
                trial.report(step, x=1.0)
            if not reports:
                raise ValueError("enough")
        elif first:
            time.sleep(2 * PATIENCE)
        return Ended()

    trial = Trial(0, 0, lambda step, metrics: Verdict.GO_ON, team=team)
    began = time.monotonic()
    try:
        shared(run, team)({}, trial)
    except (Exception, Apart) as error:
        took = "" if time.monotonic() - began < PATIENCE else ", late"
        return f"{type(error).__name__}: {error.args[0]}{took}"
    return "ended"


def agrees(team: Team) -> tuple[list[str], float]:
    """What `same` and `total` give, and who learns of what rank 0 raises."""

    def refuse() -> None:
        raise KeyError("no")

    found = [team.same(lambda: f"of {team.rank}")]
    try:
        team.same(refuse)
    except (KeyError, TeamError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found, float(team.total(torch.tensor(team.rank + 1.0)))


def stops(team: Team) -> int:
    """At which step a plain loop leaves that is stopped at the second one."""
    trial = Trial(0, 0, lambda step, metrics: Verdict.PRUNED if step == 2 else Verdict.GO_ON, team=team)
    for step in range(1, 5):
        try:
            trial.report(step, x=float(step))
        except Stopped:
            return step
    return 0


@pytest.fixture
def others() -> Iterator[Workers]:
    """Workers that no other test uses: those who part do not meet again."""
    found = Workers(2)
    yield found
    found.close()


def test_rank_0_decides_and_what_it_raises_is_raised_everywhere() -> None:
    assert workers().run(agrees) == [
        (["of 0", "KeyError: 'no'"], 3.0),
        (["of 0", "TeamError: worker 0: KeyError: 'no'"], 3.0),
    ]
    assert workers().run(stops) == [2, 2]


def test_a_team_of_one_does_nothing() -> None:
    assert agrees(ALONE) == (["of 0", "KeyError: 'no'"], 1.0)
    assert fails(ALONE, 0) == "ValueError: enough"


@pytest.mark.parametrize(
    ("rank", "ends"),
    [(0, ["ValueError: enough", "ended"]), (1, ["TeamError: worker 1: ValueError: enough", "ValueError: enough"])],
)
def test_what_one_raises_at_the_end_is_heard_by_rank_0(rank: int, ends: list[str]) -> None:
    assert workers().run(fails, rank) == ends
    assert workers().run(stops) == [2, 2], "they go on together"


def names_a_database(team: Team) -> str:
    """A trial in which rank 1 raises words with a password in them; what ended it here."""

    def run(params: object, trial: Trial) -> Ended:
        if team.rank == 1:
            raise ValueError("postgresql://me:s3cret@host/db\nis away")
        return Ended()

    try:
        shared(run, team)({}, Trial(0, 0, lambda step, metrics: Verdict.GO_ON, team=team))
    except Exception as error:
        return str(error)
    return "ended"


def test_what_another_worker_raised_is_told_in_one_line_without_passwords() -> None:
    told, _ = workers().run(names_a_database)
    assert told == "worker 1: ValueError: postgresql://me:***@host/db is away"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_raises_does_not_wait_for_ever(rank: int, others: Workers) -> None:
    ends = others.run(lone, rank)
    assert ends[rank] == "Apart: ValueError: enough, late"
    assert ends[1 - rank].startswith("Apart: None")


def lone(team: Team, rank: int) -> str:
    """One raises while the other trains on."""
    return fails(team, rank, first=True)


@pytest.mark.slow
def test_reports_that_only_one_makes_are_an_error(others: Workers) -> None:
    ends = others.run(one_reports)
    assert all(end.startswith("Apart: trial.report must be called on every worker alike") for end in ends)


def one_reports(team: Team) -> str:
    """Only rank 0 reports."""
    return fails(team, 0, reports=3)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("whole", [1, 5, 32])
def test_shards_are_the_batch(size: int, whole: int) -> None:
    shards = [Shard.of(rank, size, whole) for rank in range(size)]
    rows = torch.arange(whole)
    assert torch.equal(torch.cat([shard.rows(rows) for shard in shards if shard.counts]), rows)
    assert all(shard.count >= 1 for shard in shards)
    assert max(shard.count for shard in shards) - min(shard.count for shard in shards) <= 1


def test_a_draw_is_the_whole_batchs_cut_or_of_its_own_where_there_is_no_batch() -> None:
    def draw(shape):
        return torch.arange(torch.Size(shape).numel()).view(*shape)

    second = Shard(2, 2, 4)
    assert second.drawn(draw, (2, 3)).tolist() == [[6, 7, 8], [9, 10, 11]]
    assert second.drawn(draw, (4,)).tolist() == [4, 5, 6, 7], "two heads an example"
    assert second.drawn(draw, (3,)).tolist() == [0, 1, 2]
