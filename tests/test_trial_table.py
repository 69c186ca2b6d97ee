"""Trials as a table: what is in the file, read back by pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.errors import UserError
from hpo.search import attributes
from hpo.trial_table import write_curves, write_trials

READERS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


@pytest.fixture
def study() -> optuna.Study:
    made = optuna.create_study(study_name="tabled", direction="maximize")
    choice = CategoricalDistribution(["adam", 3])
    for number, value in enumerate(["adam", 3, "adam"]):
        made.add_trial(
            create_trial(
                state=TrialState.FAIL if number == 2 else TrialState.COMPLETE,
                value=None if number == 2 else 0.1 * number,
                params={"optimizer.lr": 0.01, "optimizer.name": value},
                distributions={"optimizer.lr": FloatDistribution(1e-4, 1.0), "optimizer.name": choice},
                intermediate_values={1: 0.5, 2: 0.25},
                user_attrs={
                    attributes.METRICS: {"val_loss": 1.5},
                    attributes.BY_CLASS: {"roc": []},
                    attributes.PACKED: True,
                }
                if number == 0
                else {attributes.SEED: 7},
            )
        )
    return made


@pytest.mark.parametrize("suffix", READERS)
def test_a_row_a_trial_with_what_optuna_calls_its_columns(study: optuna.Study, suffix: str, tmp_path: Path) -> None:
    written = write_trials(study, tmp_path / f"trials{suffix}")
    table: Any = READERS[suffix](written)
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert list(table["params_optimizer.name"].astype(str)) == ["adam", "3", "adam"]
    assert table["metrics_val_loss"][0] == 1.5
    assert table["metrics_val_loss"].isna().tolist() == [False, True, True]
    assert table["user_attrs_packed"].tolist() == [True, False, False]
    assert not [name for name in table.columns if name.startswith(("system_attrs", "user_attrs_by_class"))]
    assert [file.name for file in tmp_path.iterdir()] == [written.name]


@pytest.mark.parametrize("suffix", READERS)
def test_a_row_a_reported_value(study: optuna.Study, suffix: str, tmp_path: Path) -> None:
    metrics = {1: {"val_loss": {1: 2.0}}}
    table: Any = READERS[suffix](write_curves(study, "val_accuracy", metrics, tmp_path / f"curves{suffix}"))
    rows = set(table.itertuples(index=False, name=None))
    expected = {(number, step, "val_accuracy", value) for number in range(3) for step, value in ((1, 0.5), (2, 0.25))}
    assert rows == expected | {(1, 1, "val_loss", 2.0)}


@pytest.mark.parametrize("suffix", READERS)
def test_a_study_without_trials_gives_an_empty_table(suffix: str, tmp_path: Path) -> None:
    empty = optuna.create_study()
    assert write_trials(empty, tmp_path / f"trials{suffix}").exists()
    assert write_curves(empty, "value", {}, tmp_path / f"curves{suffix}").exists()


def test_other_suffixes_and_places_are_refused_and_nothing_is_left(study: optuna.Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its file ends in \.csv, \.parquet, found '\.parket'; did you mean \.parquet"):
        write_trials(study, tmp_path / "trials.parket")
    with pytest.raises(UserError, match=r"table: .*nowhere/t\.csv cannot be written: No such file"):
        write_trials(study, tmp_path / "nowhere" / "t.csv")
    assert list(tmp_path.iterdir()) == []
