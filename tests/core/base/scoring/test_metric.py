"""Which metrics take the weights of rows, and by which argument."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import numpy as np
import pytest

from stepbus import Metric
from stepbus.base.scoring.metric import weights_argument, weights_for


class Plain(Metric):
    """The rows right."""

    def update(self, predictions: Any, targets: Any) -> None:
        self.right = (predictions.argmax(-1) == targets).astype(float)

    def compute(self) -> float:
        return float(self.right.mean())


class Weighed(Plain):
    """The rows right, by weight."""

    def update(self, predictions: Any, targets: Any, weights: Any = None) -> None:
        super().update(predictions, targets)
        self.weights = np.ones(len(targets)) if weights is None else weights

    def compute(self) -> float:
        return float(np.average(self.right, weights=self.weights))


def by_weight(labels: Any, predictions: Any, weights: Any = None) -> float:
    return 0.0


def like_sklearn(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    return 0.0


@wraps(by_weight)
def wrapped(*arguments: Any, **named: Any) -> float:
    return by_weight(*arguments, **named)


@pytest.mark.parametrize(
    ("metric", "argument"),
    [
        (by_weight, "weights"),
        (like_sklearn, "sample_weight"),
        (wrapped, "weights"),
        (partial(like_sklearn, y_pred=0), "sample_weight"),
        (Weighed(), "weights"),
        (Plain(), ""),
        (lambda labels, predictions: 0.0, ""),
        (lambda labels, predictions, **anything: 0.0, ""),
        (lambda labels, predictions, *weights: 0.0, ""),
        (max, ""),
    ],
)
def test_the_argument(metric: Any, argument: str) -> None:
    assert weights_argument(metric) == argument


@pytest.mark.parametrize(
    ("metric", "argument"), [(Weighed(), "weights"), (Plain(), ""), (like_sklearn, "sample_weight")]
)
def test_what_stands_around_a_metric_takes_what_it_takes(metric: Any, argument: str) -> None:
    class Around:
        __wrapped__ = metric

        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            return metric(*arguments, **keywords)

    assert weights_argument(Around()) == argument


def test_a_classic_metric_gets_them_in_its_update() -> None:
    labels, values = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    assert Weighed()(labels, values) == pytest.approx(2 / 3)
    assert Weighed()(labels, values, np.array([1.0, 3.0, 2.0])) == 0.5
    assert Plain()(labels, values) == pytest.approx(2 / 3)
    with pytest.raises(TypeError, match=r"Plain\.update has no argument weights"):
        Plain()(labels, values, np.ones(3))


class Mass(Plain):
    """What the rows weigh; it must have weights."""

    def update(self, predictions: Any, targets: Any, weights: Any) -> None:  # type: ignore[override]
        self.weights = weights

    def compute(self) -> float:
        return float(self.weights.sum())


class NamedMass(Mass):
    """The same, by name alone."""

    def update(self, predictions: Any, targets: Any, *, weights: Any) -> None:  # type: ignore[override]
        super().update(predictions, targets, weights)


class LikeSklearn(Mass):
    """The same, by scikit-learn's word for it."""

    def update(self, predictions: Any, targets: Any, sample_weight: Any) -> None:  # type: ignore[override]
        super().update(predictions, targets, sample_weight)


def mass(labels: Any, predictions: Any, sample_weight: Any) -> float:
    return float(sample_weight.sum())


@pytest.mark.parametrize("metric", [Mass(), NamedMass(), LikeSklearn(), mass])
def test_one_that_must_have_weights_gets_ones_where_rows_have_none(metric: Any) -> None:
    labels, values = np.zeros(3, dtype=np.int64), np.zeros((3, 2))
    (given,) = weights_for(metric, labels).values()
    assert given.dtype == np.float64 and given.tolist() == [1.0, 1.0, 1.0]
    (given,) = weights_for(metric, labels, np.array([0.5, 2.0, 0.0])).values()
    assert given.tolist() == [0.5, 2.0, 0.0]
    if isinstance(metric, Metric):
        assert (metric(labels, values), metric(labels, values, np.array([0.5, 2.0, 0.0]))) == (3.0, 2.5)


def test_one_that_may_do_without_gets_none_where_rows_have_none() -> None:
    labels = np.zeros(3, dtype=np.int64)
    assert weights_for(Weighed(), labels) == weights_for(Plain(), labels, labels) == {}
    assert weights_for(Weighed(), labels, labels) == {"weights": labels}
