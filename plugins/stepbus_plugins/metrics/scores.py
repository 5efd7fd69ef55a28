"""The metrics as functions of a whole set's labels and predictions; scikit-learn computes, on the host.

Where a metric is undefined (no rows, a prediction that is no number, one class only) it is NaN, never a guess and
never an exception: a fit must not die of a metric. scikit-learn is imported on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from stepbus import BadInput
from stepbus_plugins.metrics.settings import AveragedConfig, DecisionConfig, RankConfig

Array = np.ndarray[Any, Any]
Weights = Array | None
Score = Callable[[Array, Array, Weights], float]


def task_of(labels: Array, predictions: Array) -> str:
    """Return the task that the shapes tell: [N, K] labels, [N] predictions, [N, 2] or [N, K] probabilities."""
    if labels.ndim == 2:
        return "multilabel"
    if predictions.ndim == 1:
        return "regression"
    return "binary" if predictions.shape[1] == 2 else "multiclass"


def decide(labels: Array, predictions: Array, threshold: float = 0.5) -> Array:
    """Return the class numbers [N], or 0/1 [N, K] for a multilabel set.

    The second of two classes is decided for from the threshold on. At 0.5 that is the more probable one; a tie goes to
    the first, as in the files that predictions are written to. Of more classes, the most probable one.
    """
    if labels.ndim == 2:
        return np.asarray(predictions >= threshold, dtype=np.int64)
    if predictions.shape[1] == 2 and threshold != 0.5:
        return np.asarray(predictions[:, 1] >= threshold, dtype=np.int64)
    return np.asarray(predictions.argmax(axis=1))


def guarded(score: Score) -> Callable[..., float]:
    """Return a metric that is NaN for an empty set and for predictions that are not all finite.

    It is called with labels, predictions, and the weights of the rows or None; a row of weight 0 is as if it were not
    there.
    """

    @wraps(score)
    def guard(labels: Array, predictions: Array, weights: Weights = None) -> float:
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64)
            there = weights > 0
            labels, predictions, weights = labels[there], predictions[there], weights[there]
        if len(labels) == 0 or not np.isfinite(predictions).all():
            return math.nan
        return float(score(labels, predictions, weights))

    return guard


def accuracy(settings: DecisionConfig) -> Callable[..., float]:
    """Return the share of rows that are right; a multilabel row is right when all its labels are."""

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        right = decide(labels, predictions, settings.threshold) == labels
        right = right.all(axis=1) if right.ndim == 2 else right
        return float(right.mean() if weights is None else np.average(right, weights=weights))

    return score


def averaged(name: str, average: str | None = None) -> Callable[[Any], Callable[..., float]]:
    """Return what builds precision, recall or f1.

    Args:
        name: Which of the three.
        average: Fixed; None asks the settings.
    """

    def build(settings: AveragedConfig | DecisionConfig) -> Callable[..., float]:
        wished = average or getattr(settings, "average", "auto")

        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn.metrics import precision_recall_fscore_support

            binary = task_of(labels, predictions) == "binary"
            how = ("binary" if binary else "macro") if wished == "auto" else wished
            if how == "binary" and not binary:  # `validate_plan` has refused it; this is for who calls it directly
                raise BadInput(
                    f"training.metrics: {name} with average: binary is for two classes; take macro, micro or weighted"
                )
            decided = decide(labels, predictions, settings.threshold)
            scores = precision_recall_fscore_support(
                labels.astype(np.int64), decided, average=how, zero_division=0.0, sample_weight=weights
            )
            return float(dict(zip(("precision", "recall", "f1"), scores, strict=False))[name])

        return score

    return build


def ranked(name: str) -> Callable[[RankConfig], Callable[..., float]]:
    """Return what builds auc_roc or auc_pr: of the second class, or one against the rest.

    A class (or label) is left out of the mean where the set has no row with it or none without it, for there neither
    is defined; with no class left the result is NaN.
    """

    def build(settings: RankConfig) -> Callable[..., float]:
        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn.metrics import average_precision_score, roc_auc_score

            truth, values = _one_against_rest(labels, predictions)
            present = truth.any(axis=0) & ~truth.all(axis=0)
            if not present.any():
                return math.nan
            truth, values = truth[:, present], values[:, present]
            shares = truth.sum(axis=0) if weights is None else weights @ truth
            if settings.average == "micro":
                weights = None if weights is None else np.repeat(weights, truth.shape[1])
                truth, values = truth.reshape(-1, 1), values.reshape(-1, 1)
            function = roc_auc_score if name == "auc_roc" else average_precision_score
            each = [float(function(truth[:, k], values[:, k], sample_weight=weights)) for k in range(truth.shape[1])]
            return float(np.average(each, weights=shares if settings.average == "weighted" else None))

        return score

    return build


def _one_against_rest(labels: Array, predictions: Array) -> tuple[Array, Array]:
    task = task_of(labels, predictions)
    if task == "multilabel":
        return labels.astype(bool), predictions
    if task == "binary":
        return (labels == 1)[:, None], predictions[:, 1:]
    return labels[:, None] == np.arange(predictions.shape[1]), predictions


def regression(name: str) -> Callable[[Any], Callable[..., float]]:
    """Return what builds mse, mae, rmse, r2 or rmsle, each over [N] values in the label's own unit."""

    def build(settings: Any) -> Callable[..., float]:
        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn import metrics

            truth, values = labels.astype(np.float64), predictions.astype(np.float64)
            if name == "r2":
                # Without spread in the labels there is nothing to explain.
                return float(metrics.r2_score(truth, values, sample_weight=weights)) if np.ptp(truth) > 0 else math.nan
            if name == "rmsle":
                # A price below 0 is scored as 0; labels below 0 have no such score.
                if (truth < 0).any():
                    return math.nan
                return float(metrics.root_mean_squared_log_error(truth, np.maximum(values, 0), sample_weight=weights))
            if name == "mae":
                return float(metrics.mean_absolute_error(truth, values, sample_weight=weights))
            mse = float(metrics.mean_squared_error(truth, values, sample_weight=weights))
            return math.sqrt(mse) if name == "rmse" else mse

        return score

    return build
