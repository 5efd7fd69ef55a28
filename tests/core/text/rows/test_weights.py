"""Weights and soft labels that a plugin gives: one entry a row, and nothing that is no weight or no probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus.base.errors import DataError
from stepbus.config.sections import DataSettings
from stepbus.text.rows.parts.splits import split_rows
from stepbus.text.rows.table import Rows, read_rows


def rows(number: int = 4) -> Rows:
    frame = pd.DataFrame({"text": [f"row {index}" for index in range(number)]})
    return read_rows(frame, name="train", config=DataSettings())


def test_they_go_where_their_rows_go() -> None:
    plain = rows(20)
    given = plain.with_weights(range(20)).with_soft_labels(np.arange(20) / 20, ["good"])
    assert plain.weights is None
    assert plain.soft is None
    for part in (given.take([3, 1], "stop"), *split_rows(given, 0.3, seed=4)):
        assert part.weights is not None
        assert part.soft is not None
        assert part.weights.tolist() == part.ids.tolist()
        assert part.soft[:, 0].tolist() == (part.ids / 20).tolist()
        assert part.classes == ("good",)
    assert given.take([3]).take([0]).weights == [3.0]


def test_nobody_writes_into_them() -> None:
    mine = np.array([1.0, 2.0, 3.0, 4.0])
    given = rows().with_weights(mine).with_soft_labels(np.full((4, 2), 0.5), ["a", "b"])
    mine[0] = 9
    assert given.weights is not None
    assert given.weights.tolist() == [1, 2, 3, 4]
    for array in (given.weights, given.soft):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5  # type: ignore[index]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1, 2, 3], "train frame: weights: expected one for each of 4 rows, got the shape [3]"),
        ([[1, 2, 3, 4]], "train frame: weights: expected one for each of 4 rows, got the shape [1, 4]"),
        (["a", 1, 1, 1], "train frame: weights: expected numbers, got something else"),
        ([1, -1, 1, 1], "train frame, row 2: weights: expected a weight, 0 or a number from 1e-12 to 1e+12, got -1"),
        ([1, 1, np.nan, 1], "train frame, row 3: weights: expected a weight, 0 or a number from 1e-12 to 1e+12, got n"),
        ([1, 1, 1, np.inf], "train frame, row 4: weights: expected a weight, 0 or a number from 1e-12 to 1e+12, got i"),
        ([1e-13, 1, 1, 1], "train frame, row 1: weights: expected a weight, 0 or a number from 1e-12 to 1e+12, got 1"),
    ],
    ids=repr,
)
def test_what_is_no_weight(weights: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        rows().with_weights(weights)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("soft", "classes", "said"),
    [
        (np.zeros((4, 2)), ["a"], "train frame: soft labels: expected probabilities of 4 rows and 1 classes, got the"),
        (np.zeros(4), ["a", "b"], "train frame: soft labels: expected probabilities of 4 rows and 2 classes, got the"),
        (np.zeros((3, 2)), ["a", "b"], "train frame: soft labels: expected probabilities of 4 rows and 2 classes, got"),
        (np.zeros((4, 2)), ["a", "a"], "train frame: soft labels: expected the names of different classes, got"),
        (np.zeros((4, 2)), "ab", "train frame: soft labels: expected the names of different classes, got 'ab'"),
        (np.zeros((4, 0)), [], "train frame: soft labels: expected the names of different classes, got []"),
        ([["x", 0]] * 4, ["a", "b"], "train frame: soft labels: expected numbers, got something else"),
        (
            [0.5, 1.1, 0, 0],
            ["a"],
            "train frame, row 2: soft labels: expected a probability of 'a' from 0 to 1, got 1.1",
        ),
        ([0.5, 0, -0.1, 0], ["a"], "train frame, row 3: soft labels: expected a probability of 'a' from 0 to 1, got"),
        ([0.5, 0, 0, np.nan], ["a"], "train frame, row 4: soft labels: expected a probability of 'a' from 0 to 1, got"),
    ],
)
def test_what_is_no_probability(soft: Any, classes: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        rows().with_soft_labels(soft, classes)
    assert str(caught.value).startswith(said)
