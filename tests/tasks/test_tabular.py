"""`tabular`: what columns become, fitted on training rows only, and a sentence for every file that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import UserError
from hpo.tasks import Task, tasks
from tests.tasks.files import wine, write_table


def made(table: pd.DataFrame, folder: Path, target: str = "y", **options: Any) -> Task:
    table.to_csv(folder / "data.csv", index=False)
    return tasks.parse({"name": "tabular", "path": str(folder / "data.csv"), "target": target, **options}).make()


@pytest.fixture
def table() -> pd.DataFrame:
    """60 rows with classes in turn."""
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "a": random.normal(5, 2, 60).round(6),
            "b": random.choice(["red", "green", "blue"], 60),
            "y": np.resize(["cat", "dog", "cow"], 60),
        }
    )


def test_csv_and_parquet_give_the_same_arrays(tmp_path: Path) -> None:
    wine().to_parquet(tmp_path / "wine.parquet")
    csv = tasks.parse({"name": "tabular", **write_table(tmp_path)}).make()
    parquet = tasks.parse({"name": "tabular", "path": str(tmp_path / "wine.parquet"), "target": "cultivar"}).make()
    for (_, ours), (_, theirs) in zip(csv.splits(), parquet.splits(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    # 12 columns of numbers and three depths of colour
    assert (csv.input_shape, csv.outputs) == ((15,), 3)
    assert csv.notes == parquet.notes == ("classes: 0 is 'barbera', 1 is 'barolo', 2 is 'grignolino'",)


def test_holes_are_filled_and_numbers_scaled_by_the_training_rows_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    table.loc[::7, "a"] = np.nan
    before = made(table, tmp_path)
    held_out = np.flatnonzero(_rows_of(before, table) != 0)
    table.loc[held_out, "a"] += 1000.0
    table.loc[held_out, "b"] = "blue"
    after = made(table, tmp_path)
    assert np.array_equal(before.train[0], after.train[0])
    assert not np.array_equal(before.val[0], after.val[0])
    trains = table["a"][_rows_of(before, table) == 0]
    filled = trains.fillna(trains.median())
    expected = np.sort((filled - filled.mean()) / filled.std(ddof=0))
    assert np.allclose(np.sort(before.train[0][:, 0]), expected, atol=1e-6)


def _rows_of(task: Task, table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The split of each row of the table: 0 for train. The rows are told apart by a column of their own."""
    from hpo.tasks.splits import shared_out

    classes = np.unique(table["y"], return_inverse=True)[1]
    parts = shared_out(classes, 0, 0.2, 0.2)
    assert [len(part) for part in parts] == [len(y) for _, (_, y) in task.splits()]
    split = np.empty(len(table), int)
    for i, (part, (_, (_, y))) in enumerate(zip(parts, task.splits(), strict=True)):
        assert np.array_equal(classes[part], y)
        split[part] = i
    return split


def test_texts_become_one_column_each_or_one_for_all(table: pd.DataFrame, tmp_path: Path) -> None:
    one_hot = made(table, tmp_path).train[0]
    assert one_hot.shape[1] == 4
    assert set(one_hot[:, 1:].sum(1)) == {1.0}
    assert made(table, tmp_path, encode="ordinal", scale="none").train[0][:, 1].max() == 2.0
    scaled = made(table, tmp_path, encode="ordinal", scale="min_max").train[0]
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)


def test_a_category_that_no_training_row_has_is_all_zeros(table: pd.DataFrame, tmp_path: Path) -> None:
    held_out = np.flatnonzero(_rows_of(made(table, tmp_path), table) == 1)
    table.loc[held_out[0], "b"] = "violet"
    val = made(table, tmp_path).val[0]
    assert sorted(val[:, 1:].sum(1))[:2] == [0.0, 1.0]


def test_rare_categories_share_a_column(table: pd.DataFrame, tmp_path: Path) -> None:
    table["b"] = np.resize([f"b{i}" for i in range(20)], 60)
    assert made(table, tmp_path, max_categories=5).input_shape == (1 + 5,)


@pytest.mark.parametrize(
    ("values", "options", "classes"),
    [
        (["yes", "no"], {}, 2),
        ([0, 1, 2], {}, 3),
        ([3, 4, 5, 6], {}, 4),
        ([True, False], {}, 2),
        ([0.5, 1.0, 2.0], {}, None),
        (range(30), {}, None),
        ([3, 4, 5, 6], {"kind": "regression"}, None),
        (range(10), {"kind": "classification"}, 10),
    ],
)
def test_the_target_says_which_kind_it_is(
    table: pd.DataFrame, tmp_path: Path, values: Any, options: dict[str, Any], classes: int | None
) -> None:
    table["y"] = np.resize(list(values), 60)
    task = made(table, tmp_path, **options)
    assert task.has_classes == (classes is not None)
    assert task.outputs == (classes or 1)
    assert task.loss == ("cross_entropy" if classes else "mse")
    if classes is None:
        assert abs(task.train[1].std() - 1) < 1e-5
        assert task.notes[0].startswith("targets are standardized: 1 in mae and rmse is ")


def test_columns_that_say_nothing_are_left_out_and_said(table: pd.DataFrame, tmp_path: Path) -> None:
    table["country"], table["empty"], table["id"] = "Italy", np.nan, [f"i{i}" for i in range(60)]
    table["age"] = ["old", *map(str, range(59))]
    task = made(table, tmp_path, drop=["age"])
    assert task.input_shape == (4,)
    assert task.notes[1:] == (
        "column 'country' is left out: it is 'Italy' in all rows that train",
        "column 'empty' is left out: it is empty in all rows that train",
        "column 'id' is left out: its texts are different in all rows that train",
    )


def test_a_text_among_numbers_is_said(table: pd.DataFrame, tmp_path: Path) -> None:
    table["age"] = [*map(str, np.resize(range(20), 60))]
    first = int(np.flatnonzero(_rows_of(made(table, tmp_path), table) == 0)[0])
    table.loc[first, "age"] = "old"
    task = made(table, tmp_path)
    found = f"column 'age' holds texts among its numbers ('old' in row {first + 1}), so all are taken for categories"
    assert task.notes[1:] == (found,)
    assert task.input_shape == (4 + 21,)


def test_no_test_split_where_none_is_wanted(table: pd.DataFrame, tmp_path: Path) -> None:
    task = made(table, tmp_path, test=0.0, val=0.25)
    assert [len(y) for _, (_, y) in task.splits()] == [45, 15]


ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(40))
GOOD = f"u,v,y\n{ROWS}"
UNREAD = "path: data.csv is no CSV file that can be read"
WRONG: dict[str, tuple[bytes | str, dict[str, Any], str]] = {
    "a row too short": ("u,v,y\n1,2,a\n1,2\n", {}, f"{UNREAD}: line 3 has 2 fields, the header has 3"),
    "a row too long": (GOOD + "1,2,a,9\n", {}, f"{UNREAD}: line 42 has 4 fields, the header has 3"),
    "an open quote": (GOOD + '1,2,"a\n', {}, 'path: data.csv opens a quote (") that it never closes'),
    "empty": ("", {}, f"{UNREAD}: it is empty"),
    "a header only": ("u,v,y\n", {}, "path: data.csv has no rows below its header"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0", {}, "path: the header of data.csv is not UTF-8 text; is it a CSV file?"),
    "no UTF-8": (GOOD.encode() + b"1,\xff,a\n", {}, "path: column 'v' holds bytes that are no UTF-8 text"),
    "a column twice": ("u,u,y\n" + ROWS, {}, "path: data.csv has 2 columns called 'u'; give each its own"),
    "a missing target": (GOOD, {"target": "z"}, "target: unknown column 'z'; (allowed: u, v, y) in data.csv"),
    "a mistyped target": (
        "u,v,label\n" + ROWS,
        {"target": "lable"},
        "target: unknown column 'lable'; did you mean 'label'? ",
    ),
    "a mistyped drop": (GOOD, {"drop": ["vv"]}, "drop: unknown column 'vv'; "),
    "one class": (
        GOOD.replace(",b\n", ",a\n"),
        {},
        "target: column 'y' is 'a' in all 40 rows; one class or value only leaves nothing",
    ),
    "a constant target": (
        "u,y\n" + "".join(f"{i},2.5\n" for i in range(9)),
        {},
        "target: column 'y' is 2.5 in all 9 rows; one class or value only leaves nothing to learn",
    ),
    "holes in the target": (
        GOOD.replace("3,3,b", "3,3,").replace("5,5,b", "5,5,"),
        {},
        "target: column 'y' is empty in 2 of 40 rows (rows 4 and 6 below the header); ",
    ),
    "one example of a class": (
        GOOD + "7,7,c\n",
        {},
        " class 'c' has 1 example, at least 3 are needed, one each for train",
    ),
    "text for a regression": (
        GOOD,
        {"kind": "regression"},
        "target: column 'y' holds texts such as 'a'; regression needs numbers",
    ),
    "fractions for classes": (
        "u,y\n1,0.5\n2,0.7\n3,1\n",
        {"kind": "classification"},
        "target: column 'y' holds fractions such as 0.5; classes are",
    ),
    "an infinite target": ("u,y\n1,0.5\n2,inf\n3,1\n", {}, "target: column 'y' holds infinity; "),
    "infinity": (GOOD.replace("3,3,b", "inf,3,b"), {}, "path: column 'u' holds infinity in row 4; "),
    "nothing to learn from": (
        GOOD,
        {"drop": ["u", "v"]},
        "path: no column is left to learn from (there is only the target)",
    ),
    "constant columns only": (
        "u,y\n" + "1,a\n1,b\n" * 9,
        {},
        "path: no column is left to learn from (column 'u' is left out: it is 1.0 in all",
    ),
    "shares above all": (GOOD, {"val": 0.6, "test": 0.5}, "val: val 0.6 and test 0.5 leave nothing to train on; "),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_sentence(case: str, tmp_path: Path) -> None:
    content, options, sentence = WRONG[case]
    file = tmp_path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as raised:
        tasks.parse({"name": "tabular", "path": str(file), "target": "y", **options}).make()
    text = str(raised.value)
    assert text.startswith(f"task.{sentence}" if not sentence.startswith(" ") else f"task:{sentence}"), text
    assert "\n" not in text


def test_another_delimiter_is_proposed(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text(GOOD.replace(",", ";"))
    given = {"name": "tabular", "path": str(file), "target": "y"}
    with pytest.raises(UserError) as raised:
        tasks.parse(given).make()
    assert raised.value.hint == "if fields are divided by ';', write  delimiter: ';'"
    assert tasks.parse({**given, "delimiter": ";"}).make().outputs == 2


@pytest.mark.parametrize("delimiter", ["é", '"', "\n"])
def test_what_divides_no_fields_is_one_sentence(delimiter: str) -> None:
    with pytest.raises(UserError, match=r"^task\.delimiter: must be an ASCII character that neither quotes nor ends"):
        tasks.check({"name": "tabular", "path": "data.csv", "target": "y", "delimiter": delimiter}, "task")


def test_numbers_with_a_comma_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("u; v ;y\n" + "".join(f"{i % 9},5; a{i % 2} ;{i % 2}\n" for i in range(40)))
    given = {"name": "tabular", "path": str(file), "target": "y", "delimiter": ";"}
    (note,) = tasks.parse(given).make().notes
    assert note.startswith("column 'u' holds texts such as '")
    assert note.endswith(",5'; for numbers write  decimal: ','")
    task = tasks.parse({**given, "decimal": ",", "scale": "none"}).make()
    assert (task.input_shape, task.notes) == ((3,), ())
    assert set(task.train[0][:, 0]) == {i + 0.5 for i in range(9)}


def test_a_broken_parquet_file_and_one_with_lists(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    file.write_bytes(b"PAR1 and no more")
    given = {"name": "tabular", "path": str(file), "target": "y"}
    with pytest.raises(UserError, match=r"^task\.path: data\.parquet is no Parquet file that can be read: "):
        tasks.parse(given).make()
    pd.DataFrame({"u": [[1], [2]], "y": [0, 1]}).to_parquet(file)
    with pytest.raises(UserError, match=r"^task\.path: column 'u' holds list<.*; numbers, texts, true or false, and"):
        tasks.parse(given).make()


def test_times_truths_and_decimals_are_numbers(table: pd.DataFrame, tmp_path: Path) -> None:
    table["when"] = pd.date_range("2024-01-01", periods=60).astype(str)
    table["right"] = np.resize([True, False], 60)
    task = made(table, tmp_path, scale="none")
    assert task.input_shape == (6,)
    assert task.train[0].max() > 1.7e9  # seconds since 1970
