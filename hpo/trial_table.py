"""Trials as a table in a file, CSV or Parquet, for whoever analyses them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UserError, nearest
from hpo.search import attributes
from hpo.whole_file import whole_file

if TYPE_CHECKING:
    import optuna
    import pandas as pd

Curves = Mapping[int, Mapping[str, Mapping[int, float]]]

_DROPPED = ("system_attrs", f"user_attrs_{attributes.BY_CLASS}")
_METRICS = f"user_attrs_{attributes.METRICS}"
_PACKED = f"user_attrs_{attributes.PACKED}"


def write_trials(study: optuna.Study, path: str | os.PathLike[str]) -> Path:
    """One row a trial: `Study.trials_dataframe`'s columns and a `metrics_<name>` for each last value; the file.

    The suffix chooses the form: .csv or .parquet. A file there is replaced in one move.
    Raises UserError for another suffix and a path that cannot be written.
    """
    return _write(path, lambda: _trials(study))


def write_curves(study: optuna.Study, objective: str, metrics: Curves, path: str | os.PathLike[str]) -> Path:
    """One row a reported value: trial, step, name, value. Otherwise as `write_trials`.

    objective: the name of the intermediate values. metrics: everything else that was reported.
    """
    return _write(path, lambda: _curves(study, objective, metrics))


def _trials(study: optuna.Study) -> pd.DataFrame:
    import pandas as pd

    frame = study.trials_dataframe()
    frame = frame[[name for name in frame.columns if not name.startswith(_DROPPED)]]
    if _PACKED in frame.columns:
        frame[_PACKED] = [value is True for value in frame[_PACKED]]
    if _METRICS in frame.columns:
        last = [value if isinstance(value, dict) else {} for value in frame.pop(_METRICS)]
        frame = frame.join(pd.DataFrame(last, index=frame.index).add_prefix("metrics_"))
    return frame


def _curves(study: optuna.Study, objective: str, metrics: Curves) -> pd.DataFrame:
    import pandas as pd

    rows: list[tuple[int, int, str, float]] = []
    for trial in study.get_trials(deepcopy=False):
        curves = {objective: trial.intermediate_values, **metrics.get(trial.number, {})}
        rows += [
            (trial.number, step, name, value) for name, curve in curves.items() for step, value in sorted(curve.items())
        ]
    return pd.DataFrame(rows, columns=["trial", "step", "name", "value"])


def _as_csv(frame: pd.DataFrame, file: Any) -> None:
    frame.to_csv(file, index=False)


def _as_parquet(frame: pd.DataFrame, file: Any) -> None:
    for name in frame.columns:
        # a choice may hold texts and numbers, which one column of Parquet cannot
        kinds = {type(value) for value in frame[name].dropna()} if frame[name].dtype == object else set()
        if len(kinds) > 1 or kinds & {dict, list, tuple}:
            frame[name] = frame[name].map(lambda value: None if value is None else str(value))
    frame.to_parquet(file, index=False)


_FORMS: dict[str, Callable[[Any, Any], None]] = {".csv": _as_csv, ".parquet": _as_parquet}


def _write(path: str | os.PathLike[str], make: Callable[[], pd.DataFrame]) -> Path:
    target = Path(path).absolute()
    if target.suffix not in _FORMS:
        near = nearest(target.suffix, _FORMS)
        question = f"; did you mean {near}?" if near else ""
        allowed = ", ".join(_FORMS)
        raise UserError(f"table: its file ends in {allowed}, found {target.suffix or target.name!r}{question}")
    with whole_file(target, "table") as file:
        _FORMS[target.suffix](make(), file)
    return target
