"""The key `constraints`: its form, its mistakes, and that it is part of what a study is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpo.errors import UserError
from hpo.runs import search_plan
from hpo.sweep import Sweep
from hpo.sweep.difference import difference

Build = Callable[..., Sweep]
PRIVATE = {"base": {"privacy": {"noise_multiplier": 1.0}}}


def test_it_has_one_form(build: Build) -> None:
    sweep = build(constraints=["epsilon<=8.0", "  val_loss < 1e0"], **PRIVATE)
    assert sweep.canonical()["constraints"] == ["epsilon <= 8", "val_loss < 1"]
    assert build(sweep.canonical()).canonical() == sweep.canonical()
    assert [str(one) for one in search_plan(sweep).constraints] == ["epsilon <= 8", "val_loss < 1"]


def test_it_is_part_of_what_a_study_is_and_older_studies_have_none(build: Build) -> None:
    plain, bounded = build(), build(constraints=["val_loss <= 1"])
    assert "constraints" not in plain.canonical()
    assert difference(Sweep.identity(plain.stored()), Sweep.identity(build(constraints=[]).stored())) == []
    lines = difference(Sweep.identity(plain.stored()), Sweep.identity(bounded.stored()))
    assert lines == ["constraints: was absent, now ['val_loss <= 1']"]


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ("epsilon <= 8", "constraints: must be a list such as [\"epsilon <= 8\"], found 'epsilon <= 8'"),
        ([8], 'constraints: must be a list such as ["epsilon <= 8"], found [8]'),
        (
            ["epsilon =< 8"],
            "constraints: 'epsilon =< 8' is not understood; write a metric, one of <=, >=, <, > and a n",
        ),
        (["epsilon <= x"], "constraints: 'epsilon <= x' is not understood"),
        (["val_loss <= 1", "val_loss<=1.0"], "constraints: 'val_loss <= 1' is named twice; keep one"),
        (["val_los <= 1"], "constraints.0: unknown metric 'val_los'; did you mean 'val_loss'?"),
        (["val_loss <= 1", "epsilon <= 8"], "constraints.1: epsilon cannot be used: epsilon is reported by private"),
    ],
)
def test_a_mistake_is_a_sentence(build: Build, constraints: Any, said: str) -> None:
    with pytest.raises(UserError) as raised:
        build(constraints=constraints)
    assert str(raised.value).startswith(said)


def test_epsilon_is_of_private_trainings_only(build: Build) -> None:
    with pytest.raises(UserError) as raised:
        build(constraints=["epsilon <= 8"])
    assert str(raised.value).endswith(
        "cannot be used: epsilon is reported by private trainings only; set privacy.noise_multiplier or "
        "privacy.target_epsilon, above 0 everywhere in the space"
    )
    off_somewhere = {"privacy.noise_multiplier": {"low": 0.0, "high": 1.0}}
    with pytest.raises(UserError, match=r"^space.privacy.noise_multiplier: 0.0 cannot be used: epsilon is reported"):
        build(constraints=["epsilon <= 8"], space=off_somewhere)


def test_a_bound_is_a_metric_of_the_task_though_it_names_no_such(build: Build) -> None:
    job = build(constraints=["val_top_k >= 0.5"]).trained.job((), (), build(constraints=["val_top_k >= 0.5"]).bounds)
    assert any(str(getattr(metric, "name", metric)) == "top_k" for metric in job.make().metrics)  # type: ignore[attr-defined]
