"""The error tree, the nearest name, and passwords that are never shown."""

from __future__ import annotations

import pickle

import pytest

from hpo import errors
from hpo.errors import HpoError, Interrupted, NotFound, Refused, SweepFailed, UserError, mask, nearest, unknown

TREE = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, HpoError)]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_travels_between_processes(kind: type[HpoError]) -> None:
    sent = pickle.loads(pickle.dumps(kind("what happened", hint="what to do")))
    assert (type(sent), str(sent), sent.hint) == (kind, "what happened", "what to do")


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UserError, 2), (NotFound, 2), (Refused, 2), (SweepFailed, 1), (errors.NotReproduced, 1), (Interrupted, 130)],
)
def test_exit_codes(kind: type[HpoError], code: int) -> None:
    assert kind("x").exit_code == code


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = {line.split("── ")[-1].split()[0] for line in (errors.__doc__ or "").splitlines() if "(" in line}
    assert {kind.__name__ for kind in TREE} - {"HpoError"} == drawn


PATHS = ["optimizer.name", "optimizer.lr", "optimizer.weight_decay", "schedule.floor", "schedule.name", "epochs"]
SAMPLERS = ["brute_force", "cmaes", "gp", "nsgaii", "random", "tpe"]
KEYS = ["base", "budget", "name", "objective", "sampler", "space", "train", "trial", "n_startup_trials", "split_seed"]


@pytest.mark.parametrize(
    ("name", "allowed", "near"),
    [
        ("tpee", SAMPLERS, "tpe"),
        ("TPE", SAMPLERS, "tpe"),
        ("etp", SAMPLERS, "tpe"),
        ("brute-force", SAMPLERS, "brute_force"),
        ("cma", SAMPLERS, "cmaes"),
        ("bayes", SAMPLERS, None),
        ("lr", PATHS, "optimizer.lr"),
        ("optimizer.lrr", PATHS, "optimizer.lr"),
        ("optimizer.learning_rate", PATHS, "optimizer.lr"),
        ("learning_rate", PATHS, "optimizer.lr"),
        ("optimizr.lr", PATHS, "optimizer.lr"),
        ("optimizer.floor", PATHS, "schedule.floor"),
        ("optimizer.beta", PATHS, None),
        ("name", PATHS, None),
        ("epoch", PATHS, "epochs"),
        ("pack", KEYS, None),
        ("constraints", KEYS, None),
        ("n_startup", KEYS, "n_startup_trials"),
        ("split", KEYS, "split_seed"),
        ("", KEYS, None),
        (5, KEYS, None),
        ("x", [], None),
    ],
)
def test_the_nearest_name(name: object, allowed: list[str], near: str | None) -> None:
    assert nearest(name, allowed) == near


def test_a_name_is_nearest_to_itself() -> None:
    for names in (PATHS, SAMPLERS, KEYS):
        assert [nearest(name, names) for name in names] == names


def test_the_sentence_about_an_unknown_name() -> None:
    assert str(unknown("sampler", "sampler", "tpee", ["tpe", "gp"])) == (
        "sampler: unknown sampler 'tpee'; did you mean 'tpe'? (allowed: gp, tpe)"
    )
    assert str(unknown("", "key", "x", ["a"])) == "unknown key 'x'; (allowed: a)"
    many = str(unknown("", "key", "x", [f"k{i:02}" for i in range(30)]))
    assert many.endswith("k22, k23, ...)"), "a list that nobody reads is cut"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:se:cr@host:5432/db?x=1", "postgresql+psycopg://me:***@host:5432/db?x=1"),
        ("from mysql://a:b@c/d to mysql://e:f@g/h", "from mysql://a:***@c/d to mysql://e:***@g/h"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("no URL: a@b", "no URL: a@b"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cr@et@host/db", "postgresql://me:***@host/db"),
        ("see postgresql://me:x@host/db and http://a:y@b", "see postgresql://me:***@host/db and http://a:***@b"),
        ("postgresql://host/db?user=me&password=hidden&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("http://host:80/path, mail a@b", "http://host:80/path, mail a@b"),
    ],
)
def test_passwords_are_masked_wherever_a_url_holds_them(text: str, shown: str) -> None:
    assert mask(text) == shown
