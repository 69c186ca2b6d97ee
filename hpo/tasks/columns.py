"""Columns of a table as numbers that a network takes: filled, scaled and encoded by what the training rows show."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpo.errors import UserError
from hpo.tasks.tables import rows_text

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Encoding:
    """How columns become numbers. max_categories: of a column of texts; the rarer ones share one."""

    scale: Literal["standard", "min_max", "none"]
    encode: Literal["one_hot", "ordinal"]
    max_categories: int


def encoded(parts: Sequence[pd.DataFrame], how: Encoding) -> tuple[list[Array], tuple[str, ...]]:
    """Each part as (rows, inputs) float32, and notes on what was left out. The first part is what all is fitted on.

    Empty numbers become the column's median, empty texts its most frequent one. Raises UserError for infinity, and
    where no column is left.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline

    train = parts[0]
    kept, notes = _worth(train)
    texts = [name for name in kept if train[name].dtype == object]
    numbers = [name for name in kept if name not in texts]
    for part in parts:
        _check_finite(part[numbers])
    steps = [("numbers", make_pipeline(*_of_numbers(how)), numbers), ("texts", make_pipeline(*_of_texts(how)), texts)]
    transformer = ColumnTransformer(steps, sparse_threshold=0.0)
    with warnings.catch_warnings():
        # a category that no training row has is one of the rare ones
        warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
        arrays = [transformer.fit_transform(train), *(transformer.transform(part) for part in parts[1:])]
    return [np.ascontiguousarray(array, np.float32) for array in arrays], tuple(notes)


def _worth(train: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The columns from which something can be learned, and why the others are left out."""
    kept, notes = [], []
    for name in train.columns:
        values = train[name].dropna()
        different = values.nunique()
        if different == 0:
            notes.append(f"column {name!r} is left out: it is empty in all rows that train")
        elif different == 1:
            notes.append(f"column {name!r} is left out: it is {values.tolist()[0]!r} in all rows that train")
        elif values.dtype == object and different == len(train):
            notes.append(f"column {name!r} is left out: its texts are different in all rows that train")
        else:
            kept.append(name)
            notes += _stray_texts(name, values) if values.dtype == object else []
    if not kept:
        raise UserError(
            f"task.path: no column is left to learn from ({'; '.join(notes) or 'there is only the target'})"
        )
    return kept, notes


def _stray_texts(name: str, values: pd.Series[Any]) -> list[str]:
    """Numbers among which there are a few texts are hardly meant as categories."""
    import pandas as pd

    if values.str.fullmatch(r"[-+]?\d+,\d+").all():
        return [f"column {name!r} holds texts such as {values.iloc[0]!r}; for numbers write  decimal: ','"]
    is_text = pd.to_numeric(values, errors="coerce").isna()
    if not 0 < is_text.mean() < 0.1:
        return []
    first = is_text.idxmax()
    found = f"{values[first]!r} in row {first}" + (f" and {is_text.sum() - 1} more" if is_text.sum() > 1 else "")
    return [f"column {name!r} holds texts among its numbers ({found}), so all are taken for categories"]


def _check_finite(numbers: pd.DataFrame) -> None:
    for name in numbers.columns:
        infinite = np.isinf(numbers[name].to_numpy())
        if infinite.any():
            rows = sorted(numbers.index[infinite])
            raise UserError(f"task.path: column {name!r} holds infinity in {rows_text(rows)}; empty it or mend it")


def _of_numbers(how: Encoding) -> list[Any]:
    from sklearn.impute import SimpleImputer

    return [SimpleImputer(strategy="median"), *_scaler(how)]


def _of_texts(how: Encoding) -> list[Any]:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    filled = SimpleImputer(strategy="most_frequent")
    if how.encode == "ordinal":
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, max_categories=how.max_categories
        )
        return [filled, encoder, *_scaler(how)]
    return [
        filled,
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=how.max_categories,
            sparse_output=False,
        ),
    ]


def _scaler(how: Encoding) -> list[Any]:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    return {"standard": [StandardScaler()], "min_max": [MinMaxScaler()], "none": []}[how.scale]
