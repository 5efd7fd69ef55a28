"""What Python hands over as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stepbus import load_config
from stepbus.base.errors import DataError
from stepbus.text.rows.table import Rows, read_rows


def read(source: Any, **config: Any) -> Rows:
    return read_rows(source, name="train", config=load_config({"data": config}).data.settings)


class Polars:
    """Like a frame of polars: it becomes an Arrow table, and a pandas frame too."""

    def to_arrow(self) -> pa.Table:
        return pa.table({"text": ["a", "b"], "label": [9007199254740993, None]})

    def to_pandas(self) -> pd.DataFrame:
        return self.to_arrow().to_pandas()


class Dataset:
    """Like a data set of Hugging Face: it becomes a pandas frame."""

    column_names = ("text", "label")

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame({"text": ["a", "b"], "label": [1.0, None]})


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}), ["1", "2"]),
        (pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}, index=[7, 7]), ["1", "2"]),
        (
            pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("x", 2)])),
            ["1", "2"],
        ),
        ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], ["1", "2"]),
        ([{"text": "a", "label": 1}, {"text": "b"}], ["1", None]),
        (({"text": "a", "label": "x"}, {"label": "y", "text": "b"}), ["x", "y"]),
        ({"text": ["a", "b"], "label": [1, None]}, ["1", None]),
        ({"text": ("a", "b"), "label": np.array([1.0, 2.5])}, ["1", "2.5"]),
        ({"text": pd.Series(["a", "b"], index=[4, 5]), "label": pd.Series([1, 2], index=[4, 5])}, ["1", "2"]),
        (pa.table({"text": ["a", "b"], "label": [9007199254740993, None]}), ["9007199254740993", None]),
        (pa.table({"text": ["a", "b"], "label": [True, None]}), ["True", None]),
        (pa.table({"text": ["a", "b"], "label": [None, 5]}).to_batches()[0], [None, "5"]),
        (Polars(), ["9007199254740993", None]),
        (Dataset(), ["1", None]),
    ],
)
def test_what_has_rows_and_named_columns_is_rows(source: Any, labels: list[str | None]) -> None:
    rows = read(source)
    assert rows.cells("text") == ["a", "b"]
    assert rows.cells("label") == labels
    assert rows.where(1) == "train frame, row 2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pd.Series(["a"], name="text"), r"got a single column 'text' \(a Series\); .* frame\[\['text'\]\]"),
        (pd.Series(["a"]), r"got a single column \(a Series\)"),
        (["a", "b"], r"row 1: expected a dictionary of columns, got a str; write \[\{\"text\": …\}, …\]"),
        ([{"a": 1}, ["x"]], r"row 2: expected a dictionary of columns, got a list"),
        (np.array([["a", 1]]), r"got an array of shape \(1, 2\); hand over pandas.DataFrame"),
        (3, r"expected a file, a frame, .*, got the int 3"),
        (True, r"expected a file, a frame, .*, got the bool True"),
        ((row for row in ()), r"got a generator"),
        ({"a": 1}, r"a list of values in column 'a', got the int 1; a single row is a list of one dictionary"),
        ({"a": "text"}, r"a list of values in column 'a', got a str"),
        ({"a": np.zeros((2, 3))}, r"expected one value a row in column 'a', got 2 axes"),
        ({"a": [1], "b": [1, 2]}, r"expected columns of one length, got 'a' 1, 'b' 2"),
        ([], r"train frame: expected at least one row, got none"),
        ({}, r"expected at least one row, got none"),
        (np.array([]), r"expected at least one row, got none"),
        (pd.Series([], dtype=str), r"expected at least one row, got none"),
        (pd.DataFrame({"text": [], "label": []}), r"expected at least one row, got none"),
        (pd.DataFrame(index=[1, 2]), r"expected columns with names, got 2 rows without any"),
        (["a", 3], r"train frame, row 2: expected a text like the other rows, got the int 3"),
        (np.array(["a", None, 3.5], dtype=object), r"row 3: expected a text like the other rows, got the float 3.5"),
        (pd.Series([("a", "b"), "a"]), r"row 1: expected a text like the other rows, got a tuple"),
        ([["a", "b"], ["c"]], r"row 1: expected a dictionary of columns, got a list"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            r"names of 2 parts such as",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"each column's name once, got 'a' as column 1 and column 2"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), r"each column's name once, got '1'"),
        ("a nice film", r"a nice film: expected a file, got nothing; a text is a row: \[\{\"text\": …\}\]"),
    ],
)
def test_all_else_gets_one_sentence(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(source)
    assert "\n" not in str(caught.value)


def test_lists_in_cells_stay_lists_until_they_are_used() -> None:
    rows = read([{"text": "a", "tags": [1, 2]}, {"text": "b", "tags": [3, 4]}])
    assert rows.frame["tags"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"row 1: column 'tags': expected one value, got a list: \[1, 2\]; join them"):
        rows.cells("tags", "join them")


def test_an_index_is_no_column_and_the_message_says_so() -> None:
    frame = pd.DataFrame({"text": ["a"]}, index=pd.Index([7], name="key"))
    with pytest.raises(DataError, match=r"column 'key', got text; 'key' is the frame's index: .*reset_index"):
        read(frame, id="key")
    assert read(frame.reset_index(), id="key").ids.tolist() == [7]


def test_names_that_are_no_text_become_text() -> None:
    assert list(read(pd.DataFrame([[1, 2]])).frame.columns) == ["0", "1"]
    assert list(read({"": [1], "a": [2]}).frame.columns) == ["Unnamed: 0", "a"]


def test_half_a_character_is_refused() -> None:
    rows = read([{"text": "fine \U0001f600"}, {"text": "cut \ud83d"}])
    with pytest.raises(DataError, match=r"row 2: column 'text': expected text, got half a character in 'cut \\ud83d'"):
        rows.cells("text")
    with pytest.raises(DataError, match=r"row 2: column 'text'"):
        rows.cells("text")


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["007", "7"], ["007", "7"]),
        ([1.0, 12.0], ["1", "12"]),
        ([3, 4], [3, 4]),
        (pd.to_datetime(["2024-01-01", "2024-01-02 03:00"], format="ISO8601"), ["2024-01-01", "2024-01-02 03:00:00"]),
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
    ],
)
def test_ids_keep_their_spelling(values: Any, ids: list[Any]) -> None:
    assert read({"id": values, "text": ["a", "b"]}, id="id").ids.tolist() == ids


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], r"row 2: column 'id': expected an id, got an empty field"),
        ([1, "1"], r"row 2: column 'id': expected ids that differ, got '1' again \(first at train frame, row 1\)"),
        (["a", "b", "a", "b"], r"row 3: .*got 'a' again .*; 2 ids come more than once"),
        ([[1], [2]], r"row 1: column 'id': expected one value, got a list"),
    ],
)
def test_ids_that_are_none_or_repeated_are_named(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read({"id": values, "text": ["a"] * len(values)}, id="id")
