"""What all metrics share: which task the shapes tell, and when a metric is NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Weights = Array | None
Score = Callable[[Array, Array, Weights], float]
Thresholds = tuple[float, ...] | None


def task_of(labels: Array, predictions: Array) -> str:
    """Return the task that the shapes tell: [N, K] labels, [N] predictions, [N, 2] or [N, K] probabilities."""
    if labels.ndim == 2:
        return "multilabel"
    if predictions.ndim == 1:
        return "regression"
    return "binary" if predictions.shape[1] == 2 else "multiclass"


def guarded(score: Score) -> Callable[..., float]:
    """Return a metric that is NaN where it is undefined, and never an exception or a warning.

    It is called with labels, predictions, and the weights of the rows or None; a row of weight 0 is as if it were not
    there. It is NaN without rows, and for labels, predictions or scores that are not finite.
    """

    @wraps(score)
    def guard(labels: Array, predictions: Array, weights: Weights = None) -> float:
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64)
            there = weights > 0
            labels, predictions, weights = labels[there], predictions[there], weights[there]
        if len(labels) == 0 or not (np.isfinite(predictions).all() and np.isfinite(labels).all()):
            return math.nan
        with np.errstate(all="ignore"):
            found = float(score(labels, predictions, weights))
        return found if math.isfinite(found) else math.nan

    return guard
