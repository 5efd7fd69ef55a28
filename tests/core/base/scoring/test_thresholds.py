"""From which probability on a row has a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbus import BadInput, decide, is_threshold, threshold_problem, thresholds_of

LABELS = ("toxic", "rude", "spam")


@pytest.mark.parametrize(
    ("value", "fine"),
    [(0.3, True), (0.0, False), (1.0, False), ([0.1, 0.9], True), ([0.1, 1.0], False), ([], False),
     ({"toxic": 0.3}, True), ({"toxic": 0.0}, False), ({}, False)],
)  # fmt: skip
def test_what_is_one(value: Any, fine: bool) -> None:
    assert is_threshold(value) is fine


@pytest.mark.parametrize(
    ("threshold", "task", "names", "expected"),
    [
        (None, "multilabel", LABELS, None),
        (0.3, "multilabel", LABELS, (0.3, 0.3, 0.3)),
        ([0.1, 0.2, 0.3], "multilabel", LABELS, (0.1, 0.2, 0.3)),
        ([0.1, 0.2, 0.3], "multilabel", 3, (0.1, 0.2, 0.3)),
        ({"rude": 0.2}, "multilabel", LABELS, (0.5, 0.2, 0.5)),
        (0.3, "binary", ("no", "yes"), (0.3,)),
        (0.5, "multiclass", LABELS, None),
    ],
)
def test_of_each_label(threshold: Any, task: str, names: Any, expected: Any) -> None:
    assert thresholds_of(threshold, task, names) == expected


@pytest.mark.parametrize(
    ("threshold", "task", "names", "said"),
    [
        (0.3, "regression", ("price",), "expected none for a regression, where nothing is decided, got 0.3"),
        (0.3, "multiclass", LABELS, "expected none for more than two classes"),
        ({"yes": 0.3}, "binary", ("no", "yes"), "expected one number for two classes"),
        ([0.1, 0.2], "multilabel", LABELS, "expected one number for each of the 3 labels, or one for all, got 2"),
        ({"rud": 0.1}, "multilabel", LABELS, "expected a label out of toxic, rude, spam, got 'rud' (did you mean"),
        ({"rude": 0.1}, "multilabel", 3, "expected a list of 3 numbers, because the labels came without names"),
    ],
)  # fmt: skip
def test_what_is_none_for_a_task(threshold: Any, task: str, names: Any, said: str) -> None:
    assert threshold_problem(threshold, task, names).startswith(said)
    with pytest.raises(BadInput) as caught:
        thresholds_of(threshold, task, names, "data.threshold")
    assert str(caught.value).startswith(f"data.threshold: {said}")


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_a_label_is_given_from_its_threshold_on(seed: int, threshold: float) -> None:
    values = np.random.default_rng(seed).random((20, 3))
    found = decide(values, "multilabel", [threshold, 0.5, 0.9])
    assert found.tolist() == [[int(a >= threshold), int(b >= 0.5), int(c >= 0.9)] for a, b, c in values]
    two = np.stack([1 - values[:, 0], values[:, 0]], axis=1)
    if threshold != 0.5:
        assert decide(two, "binary", [threshold]).tolist() == found[:, 0].tolist()
    assert decide(values, "multiclass").tolist() == values.argmax(axis=1).tolist()


def test_a_probability_of_float32_that_is_written_as_the_threshold_is_at_it() -> None:
    """0.7 of float32 is below 0.7 of float64."""
    values = np.array([[0.3, 0.7]], dtype=np.float32)
    assert decide(values, "binary", [0.7]).tolist() == [1]
    assert decide(values, "multilabel", [0.7, 0.7]).tolist() == [[0, 1]]


def test_a_tie_goes_to_the_first_class_and_a_label_is_given_at_one_half() -> None:
    half = np.full((1, 2), 0.5)
    assert decide(half, "binary").tolist() == decide(half, "binary", [0.5]).tolist() == [0]
    assert decide(half, "multilabel").tolist() == [[1, 1]]
