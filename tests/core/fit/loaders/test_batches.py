"""A batch is checked where it comes in, and what is wrong with it names epoch and batch."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from stepbus import DataError
from stepbus.device import backend as backend
from stepbus.fit.loaders.batches import LoaderBatch, as_numpy, as_values, check_labels, checked, digest_of

# After the fast BLAS.
import mlx.core as mx  # isort: skip

HERE = "train: epoch 2, batch 3"
X = np.arange(6, dtype=np.float64).reshape(2, 3)


def of(labelled: bool = True, begin: int = 0, **arrays: Any) -> LoaderBatch:
    return checked({"x": X, "labels": [0, 1], **arrays}, HERE, begin, labelled=labelled)


def test_rows_are_counted_and_weighed() -> None:
    batch = of(begin=10)
    assert batch.rows.tolist() == [10, 11]
    assert (batch.sequences, batch.tokens, batch.weighted, batch.ids) == (2, 2, False, None)
    assert {name: (array.dtype, array.shape) for name, array in batch.arrays.items()} == {
        "x": (np.float32, (2, 3)),
        "labels": (np.int64, (2,)),
        "weights": (np.float32, (2,)),
    }
    weighed = of(weights=[2, 0.5], ids=["a", "b"], attention_mask=[[1, 1, 0], [1, 0, 0]])
    assert weighed.arrays["weights"].tolist() == [2.0, 0.5]
    assert (weighed.weighted, weighed.tokens, weighed.ids.tolist()) == (True, 3, ["a", "b"])
    assert "ids" not in weighed.arrays


def test_labels_are_left_out_where_nobody_wants_them() -> None:
    assert of(labelled=False).arrays.keys() == {"x", "weights"}


def test_arrays_of_mlx_stay_there() -> None:
    given = mx.array(X).astype(mx.bfloat16)
    batch = of(x=given, more=None)
    assert batch.arrays["x"] is given
    assert "more" not in batch.arrays
    np.testing.assert_array_equal(as_values(given), X)
    assert as_numpy(given).dtype == np.uint16


def test_token_ids_of_two_axes_are_no_names_of_rows() -> None:
    batch = checked({"ids": np.ones((2, 4), int), "labels": [0, 1]}, HERE, 0, labelled=True)
    assert (batch.ids, batch.arrays["ids"].shape) == (None, (2, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "expected a dictionary of arrays, got a NoneType"),
        ((X, [0, 1]), 'expected a dictionary of arrays, got a tuple; write {"x": …, "labels": …}'),
        (X, 'expected a dictionary of arrays, got an ndarray; write {"x": …, "labels": …}'),
        ({0: X}, "expected names of arrays as keys, got 0"),
        ({}, "expected the targets under the name labels, got an empty dictionary"),
        ({"x": X, "y": [0, 1]}, "expected the targets under the name labels, got x, y"),
        ({"labels": [0, 1]}, None),
        ({"x": X, "labels": [0]}, "expected arrays with as many rows each, got x 2, labels 1"),
        ({"x": X[:0], "labels": []}, "expected at least one row, got none; leave empty batches out"),
        ({"x": X, "labels": 1}, "labels: expected an array with one entry for each row, got a single value"),
        ({"x": [[1], [1, 2]], "labels": [0, 1]}, "x: expected an array, got a list that makes none"),
        ({"x": ["a", "b"], "labels": [0, 1]}, "x: expected numbers, got text; leave it out of the batch"),
        ({"x": [{}, {}], "labels": [0, 1]}, "x: expected numbers, got object values"),
        ({"x": X, "labels": [0, 1], "weights": [1, -1]}, "weights: expected finite numbers of at least 0, got -1"),
        (
            {"x": X, "labels": [0, 1], "weights": [1, 1e-20]},
            "weights: expected 0 or numbers from 1e-12 to 1e+12, got 1e-20; their scale makes no difference",
        ),
        ({"x": X, "labels": [0, 1], "weights": [1, np.nan]}, "weights: expected finite numbers of at least 0, got nan"),
        (
            {"x": X, "labels": [0, 1], "weights": X},
            "weights: expected a number for each of 2 rows, got the shape (2, 3)",
        ),
        ({"x": X, "labels": [0, 1], "ids": [1.5, None]}, "ids: expected text or whole numbers, got a float"),
    ],
)
def test_what_is_wrong(given: Any, said: str | None) -> None:
    if said is None:
        assert checked(given, HERE, 0, labelled=True).sequences == 2  # labels alone, for a model without inputs
        return
    with pytest.raises(DataError) as caught:
        checked(given, HERE, 0, labelled=True)
    assert str(caught.value).startswith(f"{HERE}: {said}")


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        ("multiclass", [0.5, 1], "expected class numbers from 0, for data.task is multiclass, got float64 values"),
        ("multiclass", [0, -1], "expected class numbers from 0, for data.task is multiclass, got numbers below 0"),
        ("multiclass", [[0, 1], [1, 0]], "expected [B], for data.task is multiclass, got [2, 2]"),
        ("binary", [0, 2], "expected 0 or 1, for data.task is binary, got 2"),
        ("multilabel", [0, 1], "expected [B, K], for data.task is multilabel, got [2]"),
        (
            "multiclass",
            [[0.5, 0.4], [1.0, 0]],
            "expected class numbers [B], or probabilities of each class that sum to 1, got 0.5, 0.4",
        ),
        ("binary", [[0.5, 0.5, 0.0]] * 2, "expected the probabilities of two classes, [B, 2], got [2, 3]"),
        ("multilabel", [[0, 2], [1, 0]], "expected 0, 1 or a probability between, for data.task is multilabel, got 2"),
    ],
)
def test_labels_are_held_against_the_task(task: str, labels: list[Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_labels(np.array(labels), task, HERE)
    assert str(caught.value) == f"{HERE}: labels: {said}"
    assert check_labels(np.array(labels), None, HERE).tolist() == labels


def test_soft_labels_are_the_most_probable_class_to_metrics() -> None:
    assert check_labels(np.float32([[0.5, 0.5], [0.2, 0.8]]), "binary", HERE).tolist() == [0, 1]
    assert check_labels(np.float32([[0.2, 0.2, 0.6]]), "multiclass", HERE).tolist() == [2]
    assert check_labels(np.float32([[0.5, 0.4], [1, 0]]), "multilabel", HERE).tolist() == [[1, 0], [1, 0]]


def test_one_column_of_labels_is_a_label_a_row() -> None:
    assert check_labels(np.array([[1.5], [2.5]]), "regression", HERE).tolist() == [1.5, 2.5]
    assert check_labels(np.array([[1], [0]]), "multilabel", HERE).shape == (2, 1)


def test_a_digest_knows_names_types_shapes_order_and_content() -> None:
    def digest(*batches: LoaderBatch) -> str:
        return digest_of(iter(batches))[0]

    one, other = of(), of(x=X + 1)
    assert digest_of([one, other])[1] == 4
    assert digest(one, other) == digest(of(), of(x=X + 1))
    different = [
        digest(one),
        digest(one, one),
        digest(one, other),
        digest(other, one),
        digest(of(x=X.astype(int))),
        digest(of(x=X.reshape(2, 1, 3))),
        digest(of(labels=[1, 0])),
        digest(of(weights=[1, 2])),
        digest(checked({"z": X, "labels": [0, 1]}, HERE, 0, labelled=True)),
    ]
    assert len(set(different)) == len(different)
    assert digest(of(x=X.T.copy().T)) == digest(one)  # the same content, laid out otherwise
    hashed = hashlib.blake2b(digest_size=16)
    one.add_to(hashed)
    assert digest(one) == hashed.hexdigest()
