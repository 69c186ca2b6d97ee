"""A CSV or Parquet file as a table whose columns hold numbers (float64, NaN where empty) or texts (NaN where empty)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UserError, unknown_text
from hpo.tasks.bar import Bar
from hpo.tasks.content import cannot_read

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

PARQUET = (".parquet", ".pq")


def read_table(path: Path, delimiter: str, decimal: str = ".") -> pd.DataFrame:
    """The whole file; its rows are numbered from 1, and spaces around texts are dropped.

    delimiter, decimal: between the fields of a CSV, and inside its numbers.

    Raises UserError for a file that is no such table, has no rows, or holds what is neither number, text, truth nor
    time.
    """
    import pyarrow as pa

    if path.is_dir():
        raise UserError(f"task.path: {path} is a folder; tabular needs a CSV or Parquet file")
    try:
        found = _parquet(path) if path.suffix.lower() in PARQUET else _csv(path, delimiter, decimal)
    except pa.ArrowInvalid as error:
        kind = "Parquet file" if path.suffix.lower() in PARQUET else "CSV file"
        raise UserError(f"task.path: {path.name} is no {kind} that can be read: {_reason(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"task.path: the header of {path.name} is not UTF-8 text; is it a CSV file?") from None
    except OSError as error:
        raise cannot_read(path, error) from None
    names = [name.strip() for name in found.column_names]
    found = found.rename_columns(names)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"task.path: {path.name} has {names.count(twice)} columns called {twice!r}; give each its own")
    if found.num_rows == 0:
        raise UserError(f"task.path: {path.name} has no rows below its header")
    return _frame(found)


def column(found: pd.DataFrame, name: str, key: str, file: str, delimiter: str) -> pd.Series[Any]:
    """The column called `name`. Raises UserError, beginning with `key`, with the nearest name when there is none."""
    if name not in found.columns:
        names = [str(one) for one in found.columns]
        other = next((one for one in ";\t|," if one != delimiter and len(names) == 1 and one in names[0]), None)
        hint = None if other is None else f"if fields are divided by {other!r}, write  delimiter: {other!r}"
        raise UserError(f"{key}: {unknown_text('column', name, names)} in {file}", hint=hint)
    return found[name]


def rows_text(rows: Sequence[int]) -> str:
    """`row 7`, `rows 2, 5 and 9`, `rows 1, 2, 3 and 40 more`."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    if len(rows) <= 4:
        return f"rows {', '.join(map(str, rows[:-1]))} and {rows[-1]}"
    return f"rows {', '.join(map(str, rows[:3]))} and {len(rows) - 3} more"


def _csv(path: Path, delimiter: str, decimal: str) -> pa.Table:
    from pyarrow import csv

    with path.open("rb") as file, Bar(f"parsing {path.name}", path.stat().st_size) as bar:
        watched = _Watched(file, bar)
        found = csv.read_csv(
            watched,
            # one block at a time: the line that an error names is then that of the file
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(strings_can_be_null=True, decimal_point=decimal),
        )
    last = found.slice(max(0, found.num_rows - 1)).to_pylist()
    if watched.quotes % 2 and any("\n" in str(value) for row in last for value in row.values()):
        raise UserError(f'task.path: {path.name} opens a quote (") that it never closes; its last row is what follows')
    return found


def _parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(path)


class _Watched:
    """A file that tells a bar what was read of it, and counts the quotes."""

    closed = False

    def __init__(self, file: Any, bar: Bar) -> None:
        self._file, self._bar, self.quotes = file, bar, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found: bytes = self._file.read(size)
        self._bar(len(found))
        self.quotes += found.count(b'"')
        return found


def _reason(error: Exception) -> str:
    """Arrow's words, those for a row of another length in ours."""
    text = " ".join(str(error).split())
    row = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text)
    if row is not None:
        return f"line {row[1]} has {row[3]} field{'' if row[3] == '1' else 's'}, the header has {row[2]}"
    return {"Empty CSV file": "it is empty"}.get(text, text.removeprefix("CSV parse error: ")[:200])


def _frame(found: pa.Table) -> pd.DataFrame:
    import pandas as pd

    rows = range(1, found.num_rows + 1)
    columns = {name: _values(name, found.column(i)) for i, name in enumerate(found.column_names)}
    return pd.DataFrame({name: pd.Series(values, rows, values.dtype) for name, values in columns.items()}, rows)


def _values(name: str, values: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """float64, or objects that are texts; NaN where empty. Truth is 0 and 1, times are seconds since 1970."""
    import numpy as np
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if any(of_kind(kind) for of_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return np.array([(one or "").strip() or np.nan for one in values.to_pylist()], dtype=object)
    unit = 1.0
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        values, unit = values.cast(pa.timestamp("us")).cast(pa.int64()), 1e6
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif pa.types.is_time(kind):
        values, unit = values.cast(pa.time64("us")).cast(pa.int64()), 1e6
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        what = "bytes that are no UTF-8 text" if pa.types.is_binary(kind) else str(kind)
        raise UserError(
            f"task.path: column {name!r} holds {what}; numbers, texts, true or false, and times can be used"
        )
    floats: np.ndarray[Any, Any] = (
        values.cast(pa.float64(), safe=False).to_pandas().to_numpy(np.float64, na_value=np.nan)
    )
    return floats / unit
