"""What metrics say of predictions is computed in one place, for the fit's sets and for what a run combines."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepbus import DataError, PluginFailure, Predictions
from stepbus.fit.evaluation import joined, metric_values, predict, score, softmax_twice, unweighed
from stepbus.run.outer_loop import Run

LABELS = np.array([0, 1, 1, 1])
VALUES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])


def right(labels: Any, values: Any) -> Any:
    return (values.argmax(-1) == labels).mean()  # a NumPy scalar, as metrics often give


def several(labels: Any, values: Any) -> dict[str, Any]:
    return {"rows": len(labels), "nothing": math.nan}


METRICS = [("right", right), ("several", several)]


def test_a_metric_gives_one_number_or_several_by_name() -> None:
    found = metric_values(METRICS, LABELS, VALUES)
    assert {name: value for name, value in found.items() if name != "nothing"} == {"right": 0.75, "rows": 4.0}
    assert math.isnan(found["nothing"])
    assert {type(value) for value in found.values()} == {float}


def exits(labels: Any, values: Any) -> Any:
    sys.exit(0)


def test_a_metric_that_raises_is_named() -> None:
    """It was a traceback; and one that exits ended the command with code 0, its run lost."""
    with pytest.raises(PluginFailure, match=r"^the metric 'mine' raised ZeroDivisionError: .*training\.metrics$"):
        metric_values([("mine", lambda labels, values: 1 / 0)], LABELS, VALUES)
    with pytest.raises(PluginFailure, match=r"^the metric 'mine' raised SystemExit: 0; mend it, or leave it out of"):
        metric_values([("mine", exits)], LABELS, VALUES)


@pytest.mark.parametrize("value", ["high", None, [1, 2], 1j, VALUES, {"mine": None}], ids=repr)
def test_what_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(PluginFailure, match=r"^the metric 'mine': expected a number, or numbers by name, from it, got"):
        metric_values([("mine", lambda labels, values: value)], LABELS, VALUES)


def test_a_fit_and_its_run_score_alike() -> None:
    of_fit, said = score(METRICS, Predictions(np.arange(4), VALUES, LABELS), 0.5, "dev")
    run = SimpleNamespace(first=SimpleNamespace(metrics=METRICS))
    of_run = Run.score(run, LABELS, VALUES)  # type: ignore[arg-type]
    assert list(of_fit) == ["dev_loss", *(f"dev_{name}" for name in of_run)]
    assert str(of_fit) == str({"dev_loss": 0.5} | {f"dev_{name}": value for name, value in of_run.items()})
    assert said == "undefined on these rows: nothing (a class may be absent)"


def test_predictions_that_are_not_finite_are_the_cause_that_is_said() -> None:
    """It was laid to an absent class."""
    values = np.full((4, 2), np.nan)
    said = score(METRICS, Predictions(np.arange(4), values, LABELS), 0.5, "dev")[1]
    assert said == "undefined on these rows: nothing (the predictions are no finite numbers)"


def test_batches_are_joined_where_their_rows_have_one_shape() -> None:
    assert joined([np.zeros((2, 3)), np.ones((1, 3))], "predictions").shape == (3, 3)
    with pytest.raises(
        DataError, match=r"^predictions: expected rows of one shape in all batches, got \[3\] and \[4\]; pad"
    ):
        joined([np.zeros((2, 3)), np.ones((1, 4))], "predictions")


def test_outputs_of_several_shapes_are_said() -> None:
    class Steps:
        def evaluate(self, batch: Any) -> Any:
            return 0.0, np.zeros((1, batch)), np.zeros((1, batch))

    class Batches:
        targets, row_ids, weight = None, np.arange(2), 2.0

        @contextmanager
        def batches(self) -> Any:
            yield iter([Lengths(3), Lengths(4)])

    class Lengths(int):
        rows = np.array([0])

    with pytest.raises(DataError, match=r"^predictions: expected rows of one shape"):
        predict(Steps(), Batches())  # type: ignore[arg-type]


def by_weight(labels: Any, values: Any, weights: Any = None) -> float:
    return float(np.average(values.argmax(-1) == labels, weights=weights))


def like_scikit_learn(labels: Any, values: Any, *, sample_weight: Any = None) -> float:
    return by_weight(labels, values, sample_weight)


def test_weights_go_to_the_metrics_that_take_them() -> None:
    """The others count all rows alike, and are named."""
    weights = np.array([1.0, 2.0, 4.0, 1.0])
    metrics = [("a", by_weight), ("b", like_scikit_learn), ("c", right), ("d", right)]
    assert metric_values(metrics, LABELS, VALUES, weights) == {"a": 0.5, "b": 0.5, "c": 0.75, "d": 0.75}
    assert metric_values(metrics, LABELS, VALUES) == dict.fromkeys("abcd", 0.75)
    found, words = score(metrics, Predictions(np.arange(4), VALUES, LABELS, weights), 0.25, "dev")
    assert (found["dev_a"], found["dev_loss"], words) == (0.5, 0.25, "")
    assert (
        unweighed(metrics)
        == "rows have weights, which c and d cannot count by: a metric gets them by an argument called weights"
    )
    assert unweighed(metrics[:2]) == ""
    run = SimpleNamespace(first=SimpleNamespace(metrics=metrics))
    assert Run.score(run, LABELS, VALUES, weights)["a"] == 0.5  # type: ignore[arg-type]


def test_the_mean_loss_is_by_weight() -> None:
    """Sum of weighted losses over sum of weights, in whatever batches; what a set weighs comes with its predictions."""
    losses, weights = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 5.0])

    class Rows:
        row_ids, targets, weight = np.arange(4), LABELS, 8.0

        def __init__(self, size: int) -> None:
            self.size, self.weights = size, weights

        @contextmanager
        def batches(self) -> Any:
            places = np.arange(4)
            yield iter([SimpleNamespace(rows=places[at : at + self.size]) for at in range(0, 4, self.size)])

        def to_units(self, values: Any) -> Any:
            return values

    def evaluate(batch: Any) -> Any:
        return float((losses * weights)[batch.rows].sum()), VALUES[batch.rows], VALUES[batch.rows]

    for size in (1, 3, 4):
        predictions, loss, _ = predict(SimpleNamespace(evaluate=evaluate), Rows(size))  # type: ignore[arg-type]
        assert loss == (2 + 6 + 20) / 8
        assert predictions.weights is not None
        assert predictions.weights.tolist() == weights.tolist()


def test_only_a_softmax_of_probabilities_is_doubted() -> None:
    def taken(outputs: np.ndarray) -> np.ndarray:
        shares = np.exp(outputs)
        return shares / shares.sum(axis=-1, keepdims=True)

    def said(outputs: np.ndarray, values: np.ndarray) -> str:
        return softmax_twice(Predictions(np.arange(len(values)), values), outputs)

    assert said(VALUES, taken(VALUES)).startswith("the model's outputs are probabilities already")
    assert said(VALUES, VALUES) == ""  # taken as they are
    logs = np.log(VALUES)  # whose softmax is the probabilities, as an ordinal head gives them
    logits = np.array([[0.5, 0.5], [0.3, 0.9]])  # one row adds up to 1
    columns = np.ones((3, 1))  # of values, or of a sigmoid
    for outputs in (logs, logits, columns, np.zeros((0, 2))):
        assert said(outputs, taken(outputs)) == ""
    assert said(np.full((2, 3), np.nan), np.full((2, 3), np.nan)) == ""
