"""A number for each row that stands for its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus.run.keeping.row_marks import content_of, row_marks
from stepbus.text.rows.table import Rows


def rows(frame: Any, **more: Any) -> Rows:
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in frame.items()})
    numbers = np.arange(len(frame))
    return Rows(frame, numbers, "a.csv", "train", numbers + 1, **more)


TEXTS = {"text": ["a", "b", None, "nan", "None", ""], "label": [0, 1, 0, 1, 0, 1]}


def test_marks_tell_rows_apart_and_the_same_rows_have_the_same() -> None:
    marks = row_marks(rows(TEXTS))
    assert marks.dtype == np.uint64
    assert len(set(marks.tolist())) == 6
    assert np.array_equal(row_marks(rows({name: TEXTS[name] for name in reversed(TEXTS)})), marks)
    some = rows(TEXTS).take([4, 0])
    assert np.array_equal(row_marks(some), marks[[4, 0]])
    assert content_of(marks) != content_of(marks[::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"text": ["a", "b", None, "nan", "None", " "]},
        {"label": [0, 1, 0, 1, 0, 0]},
        {"label": [0, 1, 0, 1, 0, None]},
        {"text": ["a", "b", None, "nan", "None", None]},
        {"more": [None] * 5 + ["x"]},
        {"text": ["a", "b", None, "nan", "None", ["a", "list"]]},
        {"text": ["a", "b", None, "nan", "None", "half \ud83d"]},
    ],
)
def test_one_cell_changes_the_mark_of_its_row_alone(change: dict[str, Any]) -> None:
    before = {**TEXTS, **({"more": [None] * 6} if "more" in change else {})}
    differ = row_marks(rows(before)) != row_marks(rows({**before, **change}))
    assert differ.tolist() == [False] * 5 + [True]


def test_ids_weights_and_soft_labels_count() -> None:
    plain = row_marks(rows(TEXTS))
    weights = np.array([1, 1, 1, 1, 1, 2.0])
    soft = np.tile([0.25, 0.75], (6, 1))
    for more in (
        {"weights": weights},
        {"soft": soft, "classes": ("0", "1")},
        {"soft": soft[:, ::-1], "classes": ("0", "1")},
    ):
        assert (row_marks(rows(TEXTS, **more)) != plain).all()
    differ = row_marks(rows(TEXTS, weights=np.ones(6))) != row_marks(rows(TEXTS, weights=weights))
    assert differ.tolist() == [False] * 5 + [True]


def test_numbers_and_times_have_marks_too() -> None:
    times = pd.to_datetime(["2024-01-01", "2024-01-02", None])
    frame = pd.DataFrame({"number": [1.5, 2.5, None], "time": times, "kind": pd.Categorical(["a", "b", "a"])})
    numbers = np.arange(3)
    marks = row_marks(Rows(frame, numbers, "a.parquet", "train", numbers))
    assert len(set(marks.tolist())) == 3
    other = row_marks(Rows(frame.assign(number=[1.5, 2.5, 0.0]), numbers, "a.parquet", "train", numbers))
    assert (marks != other).tolist() == [False, False, True]


def test_marks_do_not_change_from_one_version_to_the_next() -> None:
    """They lie in folders of runs."""
    assert [f"{mark:016x}" for mark in row_marks(rows({"text": ["a", None], "label": [0, 1]})).tolist()] == GOLDEN


GOLDEN = ["4156c486693f4179", "de64aa5cd63a2dc0"]
