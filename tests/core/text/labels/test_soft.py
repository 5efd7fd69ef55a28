"""Soft labels in the order of the classes, the hard labels beside them, and what does not fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus.base.errors import DataError
from stepbus.config.sections import DataSettings
from stepbus.text.labels.codec import LabelCodec
from stepbus.text.rows.table import Rows, read_rows


def rows(soft: Any, classes: list[str], **columns: list[Any]) -> Rows:
    frame = pd.DataFrame(columns or {"text": ["x"] * len(soft)})
    return read_rows(frame, name="train", config=DataSettings()).with_soft_labels(soft, classes)


def fitted(given: Rows, label: Any = None, task: Any = None) -> LabelCodec:
    codec = LabelCodec(label, task)
    codec.fit(given)
    return codec


THREE = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0, 0, 1]]


def test_classes_are_sorted_as_those_of_labels_are() -> None:
    codec = fitted(rows(THREE, ["10", "9", "2"]))
    assert (codec.task, codec.names, codec.kind) == ("multiclass", ["2", "9", "10"], "number")
    given = rows(THREE, ["10", "9", "2"])
    assert codec.for_loss(given).tolist() == [[0.25, 0.25, 0.5], [0.25, 0.5, 0.25], [1, 0, 0]]
    assert codec.for_loss(given).dtype == np.float32
    assert codec.encode(given).tolist() == [2, 1, 0]
    assert codec.targets_in_units(given).dtype == np.int32
    assert codec.reason == "soft labels of 3 classes"


def test_the_first_of_equally_probable_classes_is_the_hard_label() -> None:
    codec = fitted(rows([[0.5, 0.5], [0.4, 0.6]], ["b", "a"]))
    assert codec.names == ["a", "b"]
    assert codec.encode(rows([[0.5, 0.5], [0.4, 0.6]], ["b", "a"])).tolist() == [0, 0]


def test_a_label_beside_is_the_hard_one() -> None:
    given = rows([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], ["bad", "good"], label=["good", "bad", None])
    codec = fitted(given, "label")
    assert codec.encode(given).tolist() == [1, 0, 1]  # an empty cell takes the most probable class
    np.testing.assert_array_equal(codec.for_loss(given), np.float32([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]))
    assert codec.strata(given, 1).tolist() == [1, 0, 1]


def test_one_entry_leaves_the_rest_to_the_other_class_of_the_label() -> None:
    given = rows([0.75, 0.25], ["1"], label=[1, 0])
    codec = fitted(given, "label")
    assert (codec.task, codec.names) == ("binary", ["0", "1"])
    assert codec.for_loss(given).tolist() == [[0.25, 0.75], [0.75, 0.25]]
    with pytest.raises(DataError, match=r"expected the other class beside '1', which has the rest, and nothing names"):
        fitted(rows([0.75, 0.25], ["1"]))
    with pytest.raises(DataError, match=r"expected the other class beside '1', .* and data\.label has 0, 1, 2; write"):
        fitted(rows([0.75, 0.25, 0], ["1"], label=[1, 0, 2]), "label")


def test_labels_of_a_multilabel_task_are_by_themselves() -> None:
    soft = [[0.9, 0.6], [0.5, 0.1]]
    alone = fitted(rows(soft, ["x", "y"]), task="multilabel")
    assert (alone.names, alone.columns) == (["x", "y"], ("x", "y"))
    given = rows(soft, ["y", "x"], x=[1, 0], y=[0, None])
    codec = fitted(given, ["x", "y"])
    assert codec.task == "multilabel"
    np.testing.assert_array_equal(codec.for_loss(given), np.float32([[0.6, 0.9], [0.1, 0.5]]))
    assert codec.encode(given).tolist() == [[1, 0], [0, 1]]  # the empty one is 0.5 and counts as 1
    assert alone.encode(rows(soft, ["x", "y"])).tolist() == [[1, 1], [1, 0]]


def test_they_sum_to_1_or_are_refused() -> None:
    codec = fitted(rows(THREE, ["a", "b", "c"]))
    near = rows([[0.3333333, 0.3333333, 0.3333333]] * 2, ["a", "b", "c"])
    np.testing.assert_allclose(codec.for_loss(near).astype(np.float64).sum(axis=1), 1, atol=1e-7)
    with pytest.raises(DataError) as caught:
        codec.for_loss(rows([[0, 0, 1], [0.5, 0.25, 0.2]], ["a", "b", "c"]))
    assert str(caught.value) == (
        "train frame, row 2: soft labels: expected probabilities that sum to 1, got 0.95 (a 0.5, b 0.25, c 0.2); "
        "write more digits, or divide them by their sum"
    )


def test_what_does_not_fit_is_refused() -> None:
    codec = fitted(rows(THREE, ["a", "b", "c"]))
    with pytest.raises(DataError, match=r"soft labels: expected the classes a, b, c, got a, b$"):
        codec.for_loss(rows([[0.5, 0.5]], ["a", "b"]))
    with pytest.raises(DataError, match=r"expected a probability of each class of data\.label, got none of 'd'"):
        fitted(rows([[0.5, 0.5]] * 3, ["a", "b"], label=["a", "b", "d"]), "label")
    with pytest.raises(DataError, match=r"soft labels: expected different classes, got '1' and '1\.0'"):
        fitted(rows([[0.5, 0.5, 0]], ["1", "1.0", "0"]))
    with pytest.raises(DataError, match=r"soft labels: expected two classes for binary, got 3"):
        fitted(rows(THREE, ["a", "b", "c"]), task="binary")
    with pytest.raises(DataError, match=r"soft labels: expected none for regression, where the label is a value"):
        fitted(rows([[0.5, 0.5]] * 3, ["a", "b"], label=[1.5, 2.5, 3.5]), "label", "regression")
    with pytest.raises(DataError, match=r"soft labels: expected the classes x, y, got x, z"):
        fitted(rows([[0.5, 0.5]], ["x", "z"], x=[1], y=[0]), ["x", "y"])


def test_rows_without_soft_labels_are_read_as_ever() -> None:
    """A validation file may have certain labels alone."""
    codec = fitted(rows([[0.9, 0.1], [0.2, 0.8]], ["bad", "good"], label=["bad", "good"]), "label")
    hard = read_rows(pd.DataFrame({"label": ["good", "bad"]}), name="validation", config=DataSettings())
    assert codec.for_loss(hard).tolist() == codec.encode(hard).tolist() == [1, 0]


def test_a_model_without_a_label_column_names_its_predictions() -> None:
    codec = fitted(rows(THREE, ["a", "b", "c"]))
    again = LabelCodec(None)
    again.load_state_dict(codec.state_dict())
    assert [column.name for column in again.decoded_columns(np.array(THREE))] == [
        "label", "probability_a", "probability_b", "probability_c",
    ]  # fmt: skip
    given = rows(THREE, ["c", "b", "a"])
    assert again.encode(given).tolist() == [2, 1, 0]
    assert [column.values.tolist() for column in codec.in_words(codec.encode(given))] == [["c", "b", "a"]]


def test_mean_and_deviation_of_a_target_are_those_of_the_weights() -> None:
    frame = pd.DataFrame({"label": [1.5, 2.25, 10.0]})
    some = read_rows(frame, name="train", config=DataSettings())
    many = read_rows(frame.loc[[0, 1, 1, 1, 2, 2]], name="train", config=DataSettings())
    one, other = LabelCodec("label", "regression"), LabelCodec("label", "regression")
    one.fit(some.with_weights([1, 3, 2]))
    other.fit(many)
    assert (one.mean, one.sd) == pytest.approx((other.mean, other.sd), abs=1e-12)
