"""The task `tabular`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from hpo.errors import UserError
from hpo.tasks.bar import Bar
from hpo.tasks.columns import Encoding, encoded
from hpo.tasks.from_files import FileTask
from hpo.tasks.registries import tasks
from hpo.tasks.splits import shared_out
from hpo.tasks.tables import column, read_table, rows_text
from hpo.tasks.targets import Kind, Targets, targets, task_of
from hpo.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd


@tasks("tabular")
class Tabular(FileTask):
    """A CSV (with a header) or Parquet file of yours, and a column of it that is to be predicted from the others.

    Holes are filled, numbers scaled and texts encoded by what the training rows show, with scikit-learn; columns that
    say nothing there are left out, which is said when a sweep begins. Numbers as targets are standardized by the
    training rows too, so 1 in mae and rmse is one standard deviation of them.
    """

    target: str = Field(min_length=1, description="the column to predict", examples=["target"])
    kind: Kind = Field(
        "auto",
        description="auto takes texts, and whole numbers of at most 20 different values, for classes",
    )
    drop: tuple[str, ...] = Field((), strict=False, description="columns to leave out, such as an id")
    scale: Literal["standard", "min_max", "none"] = Field("standard", description="how numbers are scaled")
    encode: Literal["one_hot", "ordinal"] = Field("one_hot", description="how texts become numbers")
    max_categories: int = Field(32, ge=2, description="of a column of texts; the rarer ones share one")
    val: float = Field(0.2, gt=0, lt=1, description="share of the rows that validates")
    test: float = Field(0.2, ge=0, lt=1, description="share of the rows that tests; 0: no test split")
    split_seed: int = Field(0, ge=0, description="which rows train, validate and test; no trial's seed changes it")
    delimiter: str = Field(",", min_length=1, max_length=1, description="what divides the fields of a CSV")
    decimal: Literal[".", ","] = Field(".", description="what stands before the fractions of a CSV's numbers")

    @field_validator("delimiter")
    @classmethod
    def _divides_fields(cls, delimiter: str) -> str:
        if not delimiter.isascii() or delimiter in '"\r\n':
            raise ValueError(f"must be an ASCII character that neither quotes nor ends a line, found {delimiter!r}")
        return delimiter

    def process(self) -> Task:
        path = Path(self.path)
        table = read_table(path, self.delimiter, self.decimal)
        goal = self._targets(column(table, self.target, "task.target", path.name, self.delimiter))
        for name in self.drop:
            column(table, name, "task.drop", path.name, self.delimiter)
        inputs = table.drop(columns=[self.target, *self.drop])
        parts = shared_out(goal.values, self.split_seed, self.val, self.test, goal.names)
        filled = [part for part in parts if len(part)]
        how = Encoding(self.scale, self.encode, self.max_categories)
        with Bar("encoding columns"):
            xs, notes = encoded([inputs.iloc[part] for part in filled], how)
        return task_of(xs, goal, filled, notes)

    def _targets(self, values: pd.Series[object]) -> Targets:
        what = f"column {self.target!r}"
        empty = values.index[values.isna()].tolist()
        if empty:
            raise UserError(
                f"task.target: {what} is empty in {len(empty)} of {len(values)} rows ({rows_text(empty)} below the "
                "header); fill them or delete these rows"
            )
        return targets(values.to_numpy(), self.kind, "task.target", what)
