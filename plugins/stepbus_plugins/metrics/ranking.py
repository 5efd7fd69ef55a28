"""Areas under curves: how well probabilities rank the rows, whatever threshold decides."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stepbus_plugins.metrics.settings import RankConfig
from stepbus_plugins.metrics.shared import Array, Weights, guarded, task_of


def ranked(name: str) -> Callable[[RankConfig], Callable[..., float]]:
    """Return what builds auc_roc or auc_pr: of the second class, or one against the rest.

    A class (or label) is left out of the mean where the set has no row with it or none without it, for there neither
    is defined; with no class left the result is NaN.
    """

    def build(settings: RankConfig) -> Callable[..., float]:
        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn.metrics import average_precision_score, roc_auc_score

            truth, values = one_against_rest(labels, predictions)
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


def one_against_rest(labels: Array, predictions: Array) -> tuple[Array, Array]:
    """Return which rows have each class or label, bool [N, K], and its probability, [N, K]; of two classes the second.

    Args:
        labels: [N] class numbers, or 0/1 [N, K].
        predictions: [N, K] probabilities.
    """
    task = task_of(labels, predictions)
    if task == "multilabel":
        return labels.astype(bool), predictions
    if task == "binary":
        return (labels == 1)[:, None], predictions[:, 1:]
    return labels[:, None] == np.arange(predictions.shape[1]), predictions
