"""Rows of several sources as one set: each still knows where it is from, and means what it meant."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus import DataError, DataSettings, Rows, join_rows
from stepbus.text.rows import read_rows

OURS = pd.DataFrame({"text": ["a", "b", "c"], "label": ["0", "1", "0"], "age": ["1", "", "3"]})
MORE = pd.DataFrame({"age": [4.0, 5.0], "text": ["d", "e"], "other": [1, 2]})


def ours() -> Rows:
    return read_rows(OURS, name="train", config=DataSettings())


def more() -> Rows:
    return read_rows(MORE, name="test", config=DataSettings())


def joined(**changes: object) -> Rows:
    return join_rows(ours().take([2, 0]), more(), {"label": ["1", "0"], **changes})  # type: ignore[dict-item]


def test_cells_stay_what_they_were_and_each_row_says_where_it_is_from() -> None:
    rows = joined()
    assert list(rows.frame.columns) == ["text", "label", "age"]
    assert rows.cells("text") == ["c", "a", "d", "e"]
    assert rows.cells("label") == ["0", "0", "1", "0"]
    # As each was spelt before, though the one column was words and the other numbers.
    assert rows.cells("age") == ["3", "1", *more().cells("age")]
    assert [rows.where(index) for index in range(4)] == [
        "train frame, row 3",
        "train frame, row 1",
        "test frame, row 1",
        "test frame, row 2",
    ]
    assert (rows.name, rows.source, len(rows)) == ("train", "train frame", 4)


def test_the_rows_of_each_source_by_themselves() -> None:
    rows = joined()
    (own, at), (added, there) = rows.pieces
    assert (own.source_key, own.places.tolist(), at.tolist()) == (ours().source_key, [2, 0], [0, 1])
    assert (added.source_key, added.places.tolist(), there.tolist()) == (more().source_key, [0, 1], [2, 3])
    assert added.cells("label") == ["1", "0"]
    with pytest.raises(ValueError, match="each has places of its own"):
        rows.places  # noqa: B018


def test_what_rows_tell_those_of_the_first_source_tell() -> None:
    assert joined().kind("age") == ours().kind("age") == "number"
    assert join_rows(ours(), more(), {"label": ["1", "words"]}).kind("label") == "number"


def test_some_of_them_and_more_of_them() -> None:
    rows = joined().take([3, 0], "stop")
    assert (rows.cells("text"), rows.name, rows.where(0)) == (["e", "c"], "stop", "test frame, row 2")
    twice = join_rows(rows, more().take([0]), {"label": ["1"]})
    assert [(piece.source, piece.places.tolist(), at.tolist()) for piece, at in twice.pieces] == [
        ("train frame", [2], [1]),
        ("test frame", [1], [0]),
        ("test frame", [0], [2]),
    ]


def test_weights_and_soft_labels() -> None:
    heavy = join_rows(ours(), more().with_weights([0.5, 2]), {"label": ["1", "0"]})
    assert heavy.weights is not None
    assert heavy.weights.tolist() == [1, 1, 1, 0.5, 2]
    assert joined().weights is None
    one = ours().with_soft_labels([[1, 0], [0, 1], [1, 0]], ["0", "1"])
    other = more().with_soft_labels([[0.2, 0.8], [0.6, 0.4]], ["0", "1"])
    soft = join_rows(one, other, {"label": ["1", "0"]})
    assert soft.soft is not None
    np.testing.assert_array_equal(soft.soft, [[1, 0], [0, 1], [1, 0], [0.2, 0.8], [0.6, 0.4]])
    piece, _ = soft.pieces[1]
    assert piece.soft is not None
    assert piece.soft.tolist() == [[0.2, 0.8], [0.6, 0.4]]
    for wrong in (more(), more().with_soft_labels([[1, 0], [0, 1]], ["1", "0"])):
        with pytest.raises(DataError, match="expected soft labels of the same classes on both sides"):
            join_rows(one, wrong, {"label": ["1", "0"]})


def test_ids_of_two_kinds() -> None:
    named = evolve(more(), ids=np.array(["x", "y"], dtype=object))
    assert join_rows(ours(), named, {"label": ["1", "0"]}).ids.tolist() == [0, 1, 2, "x", "y"]
    assert joined().ids.dtype == ours().ids.dtype


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            {},
            r"test frame: to join train frame: expected a column 'label', got age, text, other; give what stands "
            r"in it: join_rows\(…, {'label': \[…\]}\), a value for each row",
        ),
        ({"label": ["1"]}, r"test frame: 'label': expected 2 values, a row each, got 1"),
        ({"label": ["1", "0"], "lable": [1, 2]}, r"train frame: expected a column 'lable' \(did you mean 'label'\?\)"),
    ],
)
def test_what_cannot_be_joined(cells: dict[str, list[object]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        join_rows(ours(), more(), cells)
