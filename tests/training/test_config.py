"""TrainingConfig: accepted forms, round trips, dotted paths and the sentences of its mistakes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import yaml12
from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.schema import check, flatten
from hpo.tasks import Task, models
from hpo.testing.entries import example
from hpo.training import OwnModelConfig, Path, TrainingConfig, as_paths, paths, with_paths
from hpo.training.initializers import initializers
from hpo.training.losses import Loss, losses
from hpo.training.optimizers import optimizers
from hpo.training.schedules import schedules
from hpo.training.sections import STRENGTHS

SECTIONS: dict[str, Registry[Any]] = {
    "model": models,
    "optimizer": optimizers,
    "schedule": schedules,
    "initializer": initializers,
    "loss": losses,
}
ENTRIES = [(section, name) for section, registry in SECTIONS.items() for name in registry]


CONDITIONAL = {
    "schedule.warmup_steps",
    "schedule.decay_steps",
    "schedule.metric",
    "optimizer.nesterov",
    "initializer.bias_value",
    "initializer.negative_slope",
    "loss.alpha",
    "model.heads",
    "model.width",
}
"""Paths that are legal only with certain others, or name something."""


def least(section: str, name: str) -> dict[str, Any]:
    """The paths without which an entry is not complete."""
    entry = example(SECTIONS[section], name)
    required = [field for field, info in type(entry).model_fields.items() if info.is_required()]
    return {f"{section}.name": name, **{f"{section}.{field}": getattr(entry, field) for field in required}}


def own_task(**changes: Any) -> Task:
    x, y = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])
    return Task(**{"train": (x, y), "val": (x, y), "model": lambda config: config, **changes})


@pytest.mark.parametrize(("section", "name"), ENTRIES)
def test_every_entry_survives_yaml(section: str, name: str) -> None:
    config = check(TrainingConfig, {section: example(SECTIONS[section], name).model_dump()})
    assert config.model_dump(mode="json")[section]["name"] == name
    assert check(TrainingConfig, yaml12.load(yaml12.dump(config.model_dump(mode="json")), "config")) == config
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(("section", "name"), [(key, name) for key, entries in STRENGTHS.items() for name in entries])
def test_every_strength_survives_yaml(section: str, name: str) -> None:
    number = 3 if paths()[f"{section}.{name}"].kind == "int" else 0.25
    config = check(TrainingConfig, {f"{section}.{name}": number})
    assert config.model_dump()[section] == {name: number}
    assert check(TrainingConfig, yaml12.load(yaml12.dump(config.model_dump(mode="json")), "config")) == config


def test_dotted_nested_short_and_long_forms_are_one() -> None:
    forms: list[dict[str, Any]] = [
        {"schedule": "cosine", "regularization": {"dropout": 0.3}, "optimizer": {"name": "adamw", "lr": 0.1}},
        {"schedule": {"name": "cosine"}, "regularization": {"dropout": {"rate": 0.3}}, "optimizer": {"lr": 0.1}},
        {"schedule.name": "cosine", "regularization.dropout": 0.3, "optimizer.lr": 0.1},
        {"schedule.name": "cosine", "regularization.dropout.rate": 0.3, "optimizer": {"lr": 0.1}},
    ]
    assert len({check(TrainingConfig, form).model_dump_json() for form in forms}) == 1
    assert len({with_paths(TrainingConfig(), form).model_dump_json() for form in forms}) == 1


def test_the_canonical_form_names_the_main_field_by_its_entry() -> None:
    config = check(TrainingConfig, {"regularization": {"gradient_clipping": {"max_norm": 1, "norm": 1}, "l1": None}})
    assert config.model_dump()["regularization"] == {"gradient_clipping": {"max_norm": 1.0, "norm": 1.0}}
    named = {path: value for path, value in as_paths(config).items() if path.startswith("regularization")}
    assert named == {"regularization.gradient_clipping": 1.0, "regularization.gradient_clipping.norm": 1.0}
    assert with_paths(TrainingConfig(), named) == config
    assert paths().find("regularization.dropout.rate") == paths()["regularization.dropout"]


def test_a_changed_name_drops_what_the_old_entry_had() -> None:
    base = with_paths(TrainingConfig(), {"optimizer": {"name": "sgd", "momentum": 0.5, "lr": 0.3}})
    changed = with_paths(base, {"optimizer.name": "adam"})
    assert changed.optimizer == optimizers.parse("adam"), "the learning rate was the old optimizer's too"
    kept = with_paths(base, {"optimizer.name": "sgd", "optimizer.lr": 0.2})
    assert kept.optimizer == optimizers.parse({"name": "sgd", "momentum": 0.5, "lr": 0.2})
    assert with_paths(base, {"optimizer": "adam", "epochs": 3}).epochs == 3


def values_of(kind: str, path: Any) -> st.SearchStrategy[Any]:
    """Some legal values of a path."""
    if path.choices is not None:
        return st.sampled_from(path.choices)
    if kind == "bool":
        return st.booleans()
    low = path.low if path.low is not None else 0
    high = path.high if path.high is not None else low + 50
    if kind == "int":
        return st.integers(int(low) + path.low_open, int(high) - path.high_open)
    return st.floats(low, high, exclude_min=path.low_open, exclude_max=path.high_open)


def narrowed(what: Path, entry: type[Entry], path: str) -> Path:
    """The path as one entry has it; `paths()` says what the widest of all allows."""
    own = entry.model_json_schema()["properties"][path.split(".")[1]]
    if what.kind not in ("int", "float"):
        return replace(what, choices=tuple(own["enum"])) if "enum" in own else what
    return replace(
        what,
        low=own.get("minimum", own.get("exclusiveMinimum")),
        high=own.get("maximum", own.get("exclusiveMaximum")),
        low_open="exclusiveMinimum" in own,
        high_open="exclusiveMaximum" in own,
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_config_is_its_paths(data: st.DataObject) -> None:
    known = paths()
    names = {section: data.draw(st.sampled_from(list(registry))) for section, registry in SECTIONS.items()}
    chosen: dict[str, Any] = {}
    for section, name in names.items():
        chosen |= least(section, name)
    for path, what in known.items():
        section = path.split(".")[0]
        if path in chosen or (section in names and names[section] not in what.entries):
            continue
        if path in CONDITIONAL or path.count(".") >= 2 or what.kind in ("list", "mapping"):
            continue
        if section == "privacy":  # what can stand beside it is a test of its own
            continue
        if path == "regularization.label_smoothing" and not losses.get(names["loss"]).smooths:
            continue
        if data.draw(st.booleans()):
            own = narrowed(what, SECTIONS[section].get(names[section]), path) if section in names else what
            chosen[path] = data.draw(values_of(what.kind, own))
    config = with_paths(TrainingConfig(), chosen)
    assert {path: as_paths(config)[path] for path in chosen} == chosen
    assert with_paths(TrainingConfig(), as_paths(config)) == config
    assert with_paths(config, chosen) == config
    assert set(as_paths(config)) <= set(known)
    assert check(TrainingConfig, as_paths(config)) == config


def test_every_path_leads_to_the_field_it_describes() -> None:
    for path, what in paths().items():
        section = path.split(".")[0]
        if section in (*STRENGTHS, "schedules") or not what.entries:
            continue
        for entry in what.entries:
            config = with_paths(TrainingConfig(), least(section, entry))
            assert path in as_paths(config), (path, entry)
        assert what.description
        assert what.kind != "any", f"{path} means two things in two entries"
    assert paths()["epochs"].low == 1
    assert paths()["optimizer.lr"].low_open
    assert paths()["seed"].set_by == "seed"
    assert paths()["precision"].choices == ("float32", "bfloat16", "float16")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"schedule.flor": 0.1}, r"^space: unknown path 'schedule\.flor'; did you mean 'schedule\.floor'\?"),
    ({"lr": 0.1}, r"^space: unknown path 'lr'; did you mean 'optimizer\.lr'\?"),
    ({"regularization.dropot": 0.5}, r"^space: unknown path .*; did you mean 'regularization\.dropout'\?"),
    ({"schedule.name": "cosin"}, r"^space\.schedule: unknown schedule 'cosin'; did you mean 'cosine'\?"),
    ({"optimizer.momentum": 0.5}, r"^space\.optimizer: unknown key of optimizer 'adamw': 'momentum'"),
    ({"optimizer.lr": -1}, r"^space\.optimizer.*lr: should be greater than 0, found -1"),
    ({"optimizer.lr": float("nan")}, r"^space\.optimizer.*lr: should be a finite number"),
    ({"regularization.dropout": 1.5}, r"^space\.regularization\.dropout: should be less than 1, found 1\.5"),
    ({"regularization.gradient_clipping.norm": 1.0}, r"norm: has no effect without regularization\.gradient_clipping"),
    ({"regularization.dropout.rate": 0.3, "regularization.dropout": 0.2}, r"regularization\.dropout: given twice"),
    ({"regularization": 0.3}, r"^space\.regularization: must be a mapping"),
    ({"schedule.warmup_fraction": 0.1, "schedule.warmup_steps": 3}, r"warmup_steps: 3 beside warmup_fraction 0\.1"),
    ({"schedule": 3}, r"^space\.schedule: unknown schedule 3"),
    ({"epochs": 0}, r"^space\.epochs: should be greater than or equal to 1, found 0"),
    ({"epochs": 1.5}, r"^space\.epochs: should be a valid integer"),
    ({"precision": "half"}, r"^space\.precision: should be 'float32', 'bfloat16' or 'float16', found 'half'"),
    ({"model": "vgg"}, r"^space\.model: unknown model 'vgg'; \(allowed: cnn, mlp, resnet18, transformer\)"),
    ({"initializer.name": "xavier_normal", "initializer.gain": 0}, r"gain: should be greater than 0"),
]


@pytest.mark.parametrize(("values", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_key(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        with_paths(TrainingConfig(), values, "space")
    assert "\n" not in str(raised.value)


def test_a_task_with_its_own_model_has_a_free_model_section() -> None:
    kind = TrainingConfig.for_task(own_task())
    assert kind is OwnModelConfig
    config = with_paths(kind(), {"model.layers.width": 3, "model.kinds": ["a"], "optimizer.lr": 0.2})
    assert config.model == {"layers": {"width": 3}, "kinds": ["a"]}
    assert with_paths(kind(), as_paths(config)) == config
    assert with_paths(config, {"model.layers.width": 4}).model == {"layers": {"width": 4}, "kinds": ["a"]}
    assert paths(kind).find("model.anything").kind == "any"
    assert not [path for path in paths(kind) if path.startswith("model")]
    with pytest.raises(UserError, match=r"did you mean 'optimizer\.lr'"):
        with_paths(kind(), {"optimizer.lrr": 3})


def test_a_task_without_one_has_the_registered_models() -> None:
    assert TrainingConfig.for_task(own_task(model=None)) is TrainingConfig


def test_the_tasks_loss_is_the_default() -> None:
    class Hinge(Loss):
        """Hinge."""

        classes = True

    try:
        losses("hinge")(Hinge)
        kind = TrainingConfig.for_task(own_task(loss="hinge"))
        assert issubclass(kind, OwnModelConfig)
        assert kind().loss == losses.parse("hinge")
        assert with_paths(kind(), {"loss": "cross_entropy"}).loss == losses.parse("cross_entropy")
        assert check(kind, flatten(kind().model_dump())) == kind()
        assert paths(kind)["loss.name"].default == "hinge"
    finally:
        losses.remove("hinge")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": "cross_entrpy"}, r"^task\.loss: unknown loss 'cross_entrpy'; did you mean 'cross_entropy'\?"),
        (
            {"train": (np.zeros((2, 1)), np.zeros(2)), "val": (np.zeros((2, 1)), np.zeros(2))},
            r"^task\.loss: cross_entropy needs targets that are integer classes",
        ),
    ],
)
def test_a_tasks_loss_that_does_not_fit_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TrainingConfig.for_task(own_task(**changes))
