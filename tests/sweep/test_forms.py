"""A sweep's forms: the canonical one is a sweep again, dotted is nested, and what is stored tells two sweeps apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo
from hpo import yaml12
from hpo.errors import UserError
from hpo.space import Space
from hpo.sweep import Budget, Sweep
from hpo.sweep.difference import difference

Build = Callable[..., Sweep]
DIGITS = Path(__file__).parents[2] / "scripts" / "sweeps" / "digits.yaml"

SECTIONS: list[dict[str, Any]] = [
    {},
    {"task": {"name": "digits", "split_seed": 3}},
    {"objective": None, "objectives": [{"metric": m, "direction": "maximize"} for m in ("val_f1", "val_accuracy")]},
    {"budget": {"time": 90.5}, "trial": {"cpus": 2, "gpus": 0.5, "timeout": "1h30m", "isolate": True}},
    {"sampler": {"name": "cmaes", "popsize": None}, "seed": 7},
    {"sampler": {"name": "tpe", "n_startup_trials": 3}, "pruner": {"name": "hyperband", "min_resource": 2}},
    {"pruner": {"name": "patient", "patience": 2, "wrapped": {"name": "threshold", "upper": 3}}},
    {"concurrency": 3, "failures": {"retries": 1}, "storage": "sqlite:///else.db"},
    {"checkpoints": {"path": "kept/here", "every": "1m30s", "keep": 0}},
    {"checkpoints": {"path": "s3://bucket/sweeps"}},
    {"base": {"epochs": 5, "model": {"name": "cnn"}, "regularization.gradient_clipping": {"max_norm": 1, "norm": 1}}},
    {"space": {"epochs": {"low": 1, "high": 9, "step": 4}, "schedule": {"choices": ["cosine", "step"]}}},
    {"space": {"batch_size": {"choices": {16: {"optimizer.lr": {"low": 0.1, "high": 0.2}}, 32: None}}}},
    {
        "space": {
            "schedule.name": {
                "choices": {"constant": None, "cosine": {"schedule": {"floor": {"low": 0.0, "high": 0.5}}}}
            }
        }
    },
]


@pytest.mark.parametrize("changes", SECTIONS, ids=[" ".join(changes) or "least" for changes in SECTIONS])
def test_the_canonical_form_is_the_same_sweep_again(changes: dict[str, Any], build: Build, tmp_path: Path) -> None:
    sweep = build(changes)
    canonical = sweep.canonical()
    assert json.loads(json.dumps(canonical)) == canonical, "it is plain JSON"
    assert yaml12.load(sweep.to_yaml(), "canonical") == canonical
    again = Sweep.from_dict(json.loads(json.dumps(sweep.stored()))["keys"], Path("/elsewhere"))
    assert again.canonical() == canonical
    assert again.search_space == sweep.search_space
    assert difference(Sweep.identity(sweep.stored()), Sweep.identity(again.stored())) == []
    for field in ("goals", "budget", "sampler", "pruner", "trial", "concurrency", "failures", "seed", "base"):
        assert getattr(again, field) == getattr(sweep, field)
    assert again.checkpoints.place(Path("/elsewhere")) == sweep.checkpoints.place(tmp_path)


def test_the_canonical_form_fills_in_defaults_options_and_types(build: Build) -> None:
    canonical = build(space={"epochs": {"low": 1, "high": 9}, "optimizer": {"lr": {"low": 1, "high": 2}}}).canonical()
    assert canonical["task"] == {"name": "digits", "split_seed": 0}
    assert canonical["space"]["epochs"] == {"type": "int", "low": 1, "high": 9}
    assert canonical["space"]["optimizer.lr"] == {"type": "float", "low": 1.0, "high": 2.0}
    assert canonical["sampler"]["n_startup_trials"] == 10
    assert canonical["pruner"] == {"name": "none"}
    assert list(canonical) == [key for key in Sweep.model_fields if key in canonical], "in the order of the keys"
    assert not {"train", "objectives", "storage"} & set(canonical)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ({"regularization.dropout.rate": {"low": 0.0, "high": 0.5}}, "regularization.dropout"),
        ({"regularization": {"dropout": {"low": 0.0, "high": 0.5}}}, "regularization.dropout"),
        ({"schedule": {"choices": ["cosine", "constant"]}}, "schedule.name"),
        ({"schedule": {"name": {"choices": {"cosine": None}}}}, "schedule.name"),
    ],
)
def test_a_parameter_has_one_name_for_ever(written: dict[str, Any], name: str, build: Build) -> None:
    assert list(build(space=written).search_space.parameters()) == [name]


def test_names_in_branches_are_canonical_too(build: Build) -> None:
    branches = {16: {"regularization.dropout.rate": {"low": 0.0, "high": 0.5}}, 32: {}}
    space = build(space={"batch_size": {"choices": branches}}).search_space
    assert list(space.parameters()) == ["batch_size", "regularization.dropout"]


def test_numbers_are_yaml_1_2_in_every_place(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\ntask: digits\nspace: {optimizer.lr: {choices: [1e-4, 1e-3]}}\nbudget: {trials: 3}\n"
        "objective: {metric: val_loss, direction: minimize}\nbase: {optimizer: {weight_decay: 1e-5}}\n"
    )
    sweep = Sweep.from_file(tmp_path / "s.yaml")
    assert sweep.search_space["optimizer.lr"] == hpo.Choice([1e-4, 1e-3])
    assert sweep.base == {"optimizer": {"weight_decay": 1e-5}}


LEAVES = {
    "budget.trials": st.integers(1, 99),
    "trial.cpus": st.sampled_from([0.5, 1.0, 2.0]),
    "trial.timeout": st.sampled_from(["5m", "90s"]),
    "sampler.n_startup_trials": st.integers(0, 50),
    "base.epochs": st.integers(1, 9),
    "base.optimizer.lr": st.sampled_from([0.1, 0.2]),
    "base.schedule.warmup_steps": st.integers(0, 3),
    "space.regularization.dropout.high": st.sampled_from([0.3, 0.5]),
    "seed": st.integers(0, 2**62),
}
FULL = {
    "name": "tried",
    "task": {"name": "digits"},
    "space": {"regularization": {"dropout": {"low": 0.0, "high": 0.6}}},
    "objective": {"metric": "val_accuracy", "direction": "maximize"},
    "budget": {"trials": 3},
    "trial": {"cpus": 1},
    "sampler": {"name": "tpe"},
    "base": {"epochs": 2, "optimizer": {"lr": 0.3}, "schedule": {"warmup_steps": 1}},
}
values = st.fixed_dictionaries({}, optional=LEAVES)


def flat(tree: dict[str, Any], levels: list[bool], prefix: str = "") -> dict[str, Any]:
    """The same keys with some sections written dotted, as `levels` says, in turn."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(value, dict) or "low" in value:
            found[key] = value
        elif levels and levels.pop():
            found |= {f"{key}.{below}": item for below, item in flat(value, levels).items()}
        else:
            found[key] = flat(value, levels)
    return found


@given(values, st.lists(st.booleans(), max_size=12))
def test_overrides_do_the_same_to_dotted_and_nested_keys(changes: dict[str, Any], levels: list[bool]) -> None:
    from hpo.sweep.reading import with_overrides

    dotted = flat(FULL, list(levels))
    sweeps = [Sweep.from_dict(with_overrides(keys, changes.items()), Path("/nowhere")) for keys in (FULL, dotted)]
    assert sweeps[0].canonical() == sweeps[1].canonical()
    canonical = sweeps[0].canonical()
    for path, value in changes.items():
        if path.startswith("space."):
            assert canonical["space"]["regularization.dropout"]["high"] == value
            continue
        node = canonical
        for part in path.split("."):
            node = node[part]
        assert node == ({"90s": "1m30s"}.get(value, value) if isinstance(value, str) else value)


def test_overrides_as_texts_are_yaml(tmp_path: Path) -> None:
    overrides = ["base.epochs=5", "space.optimizer.lr.high=3e-1", "pruner=none", "sampler.n_startup_trials=2"]
    sweep = Sweep.from_file(DIGITS, overrides)
    assert sweep.base["epochs"] == 5
    assert sweep.search_space["optimizer.lr"] == hpo.Float(1e-4, 0.3, log=True)
    assert sweep.canonical()["pruner"] == {"name": "none"}
    assert sweep.canonical()["sampler"]["n_startup_trials"] == 2, "the short form `sampler: tpe` grew"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("base.epochs", "override 'base.epochs' must be a dotted key, = and a value, as in base.epochs=5"),
        ("=5", "override '=5' must be a dotted key, = and a value"),
        ("base.epochs=[", "override 'base.epochs=[', line 1: while parsing a flow node"),
        ("seed.x=1", "seed.x: cannot be set, seed is 0; set seed itself"),
        ("bse.epochs=1", "unknown key 'bse'; did you mean 'base'?"),
        ("base.epoch=1", "base: unknown key 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_overrides_that_are_wrong(override: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Sweep.from_file(DIGITS, [override])
    assert str(caught.value).startswith(sentence)


IDENTITY: dict[str, Any] = {
    "space": {"optimizer.lr": {"low": 1e-4, "high": 0.5, "log": True}},
    "task": {"name": "digits", "split_seed": 1},
    "sampler": "random",
    "pruner": "median",
    "seed": 1,
    "base": {"epochs": 3},
    "objective": {"metric": "val_accuracy", "direction": "maximize", "at": "best"},
}
FREE: dict[str, Any] = {
    "budget": {"trials": 9, "time": "5m"},
    "trial": {"cpus": 2, "timeout": "1m"},
    "concurrency": 1,
    "checkpoints": {"path": "kept", "every": "5s", "keep": 3},
    "failures": {"retries": 2},
    "storage": "sqlite:///else.db",
}


@pytest.mark.parametrize("key", IDENTITY)
def test_what_makes_another_sweep(key: str, build: Build) -> None:
    lines = difference(Sweep.identity(build().stored()), Sweep.identity(build({key: IDENTITY[key]}).stored()))
    assert lines
    assert all(line.startswith(key) for line in lines), lines


@pytest.mark.parametrize("key", FREE)
def test_what_may_change_at_every_launch(key: str, build: Build) -> None:
    changed = build({key: FREE[key]})
    assert difference(Sweep.identity(build().stored()), Sweep.identity(changed.stored())) == []
    assert key == "storage" or changed.canonical()[key] != build().canonical()[key]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("kept", "{folder}/kept"),
        ("/data/kept", "/data/kept"),
        ("file:///data/kept", "/data/kept"),
        ("s3://bucket/kept", "s3://bucket/kept"),
        (Path("kept"), "{folder}/kept"),
        (None, None),
    ],
)
def test_the_checkpoints_path_hangs_on_the_files_folder(
    path: Any, place: str | None, build: Build, tmp_path: Path
) -> None:
    sweep = build(checkpoints={"path": path})
    wanted = None if place is None else place.replace("{folder}", str(tmp_path))
    assert sweep.checkpoints.place(sweep.folder) == wanted
    assert sweep.canonical()["checkpoints"].get("path") == wanted


def test_a_default_written_out_makes_no_other_sweep(build: Build) -> None:
    written = build(task={"name": "digits", "split_seed": 0}, sampler={"name": "tpe", "group": True}, pruner="none")
    assert Sweep.identity(written.stored()) == Sweep.identity(build().stored())


def test_python_takes_objects_where_yaml_takes_mappings(good: dict[str, Any]) -> None:
    inner = Space({"schedule.floor": hpo.Float(0, 0.5)})
    keys = {
        **good,
        "space": {
            "optimizer.lr": hpo.Float(1e-4, 1, log=True),
            "epochs": hpo.Int(1, 9),
            "schedule.name": hpo.Choice({"constant": {}, "cosine": inner}),
        },
        "budget": Budget(trials=3),
        "base": {"regularization": {"dropout": 0.5}},
    }
    sweep = hpo.Sweep(**keys)
    assert sweep.search_space["epochs"] == hpo.Int(1, 9)
    whole = hpo.Sweep(**{**keys, "space": Space(keys["space"])})
    assert whole.canonical() == sweep.canonical()
    assert Sweep.from_dict(sweep.canonical(), Path("/nowhere")).canonical() == sweep.canonical()


def test_a_domain_of_another_type_than_the_field(good: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^space\.epochs: should be a valid integer, found 1\.0$"):
        hpo.Sweep(**{**good, "space": {"epochs": hpo.Float(1, 9)}})


def test_numpys_numbers_are_numbers_and_other_objects_are_refused(good: dict[str, Any]) -> None:
    import numpy as np

    sweep = hpo.Sweep(**{**good, "base": {"optimizer": {"lr": np.float32(0.5)}, "epochs": np.int64(3)}})
    assert json.dumps(sweep.canonical()["base"]) == '{"optimizer": {"lr": 0.5}, "epochs": 3}'
    for value in (np.zeros(2), object(), {1, 2}):
        with pytest.raises(UserError, match=r"^base\.model\.x: must be plain data"):
            hpo.Sweep(**{**good, "base": {"model": {"x": value}}})


def test_a_sweep_cannot_be_changed_by_what_it_gave_out(build: Build) -> None:
    sweep = build()
    sweep.canonical()["space"].clear()
    assert sweep.canonical()["space"]
