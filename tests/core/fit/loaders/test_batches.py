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
    assert (type(batch.arrays["x"]), batch.arrays["x"].dtype) == (mx.array, mx.bfloat16)
    np.testing.assert_array_equal(as_numpy(batch.arrays["x"]), as_numpy(given))
    assert "more" not in batch.arrays
    np.testing.assert_array_equal(as_values(given), X)
    assert as_numpy(given).dtype == np.uint16


class Pinned:
    """An array of another library, which gives NumPy its own memory."""

    def __init__(self, held: Any) -> None:
        self.held, self.shape, self.dtype = held, held.shape, held.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.held


def read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("seen_as", [np.asarray, read_only, Pinned, lambda array: array[::1], memoryview])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_batch_keeps_what_it_was_given(seen_as: Any, dtype: Any) -> None:
    held = {"x": X.astype(dtype), "labels": np.array([0, 1]), "weights": np.array([1, 2], np.float32)}
    held |= {"ids": np.array(["a", "b"], object), "attention_mask": np.ones((2, 3), int)}
    seen = {name: array if name == "ids" else seen_as(array) for name, array in held.items()}
    batch, wanted = checked(seen, HERE, 0, labelled=True), X.astype(dtype).tolist()
    for name, array in held.items():
        array[:] = "c" if name == "ids" else 7
    assert batch.arrays["x"].tolist() == wanted
    assert batch.arrays["labels"].tolist() == [0, 1]
    assert batch.arrays["weights"].tolist() == [1, 2]
    assert batch.arrays["attention_mask"].tolist() == [[1, 1, 1]] * 2
    assert batch.ids is not None
    assert batch.ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.bool_])
def test_arrays_of_mlx_are_copied_too(dtype: Any) -> None:
    given = mx.array(X).astype(dtype)
    wanted = given.tolist()
    batch = of(x=given)
    given[:] = 7
    assert batch.arrays["x"].tolist() == wanted
    if dtype != mx.bfloat16:
        again = mx.array(wanted).astype(dtype)
        batch = of(x=again)
        np.array(again, copy=False)[:] = 7  # the same memory
        assert again.tolist() != wanted
        assert batch.arrays["x"].tolist() == wanted


@pytest.mark.parametrize("name", ["x", "labels", "weights"])
def test_numbers_beyond_single_precision_name_their_row(name: str) -> None:
    given = {"x": X, "labels": np.array([0.5, 1]), "weights": np.array([1.0, 1])}
    given[name] = given[name].copy()
    given[name][1] = -1e300 if name == "x" else 1e300
    said = rf"^{HERE}: {name}: row 2: expected numbers of at most 3\.4e\+38, .* got -?1e\+300; scale them"
    with pytest.raises(DataError, match=said):
        checked(given, HERE, 0, labelled=True)
    held = checked({"x": np.array([3.4e38, np.inf, 1e-300]), "labels": [0, 1, 2]}, HERE, 0, labelled=True)
    assert held.arrays["x"].tolist() == [float(np.float32(3.4e38)), np.inf, 0.0]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_no_number_names_its_row(shape: tuple[int, ...], wrong: float) -> None:
    said = rf"^{HERE}: labels: row 2: expected a finite number as regression target, got {wrong:g}; leave the row out"
    with pytest.raises(DataError, match=said):
        check_labels(np.array([0.5, wrong, np.nan], np.float32).reshape(shape), "regression", HERE)


def test_a_memory_map_is_copied(tmp_path: Any) -> None:
    file = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2, 3))
    file[:] = X
    batch = of(x=file)
    file[:] = 7
    assert batch.arrays["x"].tolist() == X.tolist()
    assert type(batch.arrays["x"]) is np.ndarray


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
