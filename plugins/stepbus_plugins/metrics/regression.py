"""Metrics of values, each over [N] values in the label's own unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from stepbus_plugins.metrics.settings import QuantileConfig
from stepbus_plugins.metrics.shared import Array, Weights, guarded


def errors(name: str) -> Callable[[Any], Callable[..., float]]:
    """Return what builds mse, mae, rmse, rmsle, mape, r2 or explained_variance, as scikit-learn has them."""

    def build(settings: Any) -> Callable[..., float]:
        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn import metrics

            truth, values = labels.astype(np.float64), predictions.astype(np.float64)
            if name == "mape":
                # Nothing is some percent of 0; scikit-learn would divide by the smallest step of a float.
                if (truth == 0).any():
                    return math.nan
                return float(metrics.mean_absolute_percentage_error(truth, values, sample_weight=weights))
            if name in ("r2", "explained_variance"):
                # Without spread in the labels there is nothing to explain.
                function = metrics.r2_score if name == "r2" else metrics.explained_variance_score
                return float(function(truth, values, sample_weight=weights)) if np.ptp(truth) > 0 else math.nan
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


def quantile_loss(settings: QuantileConfig) -> Callable[..., float]:
    """Return the mean pinball loss: q for each unit that a prediction is too low, 1 - q for each above."""

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        from sklearn.metrics import mean_pinball_loss

        truth, values = labels.astype(np.float64), predictions.astype(np.float64)
        return float(mean_pinball_loss(truth, values, alpha=settings.quantile, sample_weight=weights))

    return score


def correlation(name: str) -> Callable[[Any], Callable[..., float]]:
    """Return what builds pearson or spearman, the correlation of labels and predictions, or of their ranks.

    Neither is defined where labels or predictions are all alike. Rows count by weight in means, variances and ranks,
    as if a row of weight 2 were there twice (SciPy has no weighted one; without weights it is SciPy's).
    """

    def build(settings: Any) -> Callable[..., float]:
        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            truth, values = labels.astype(np.float64), predictions.astype(np.float64)
            if np.ptp(truth) == 0 or np.ptp(values) == 0:
                return math.nan
            if name == "spearman":
                truth, values = ranks(truth, weights), ranks(values, weights)
            (first, both), (_, second) = np.cov(truth, values, ddof=0, aweights=weights)
            # The root of the product would leave float64 before the product of the roots does.
            if min(first, second) <= 0:
                return math.nan
            return float(np.clip(both / (math.sqrt(first) * math.sqrt(second)), -1, 1))

        return score

    return build


def ranks(values: Array, weights: Weights = None) -> Array:
    """Return the rank of each value by weight, [N]: the weight below it, and half of what has the same value.

    With weights of 1 these are the mean ranks of ties, less a half.

    Args:
        values: [N].
        weights: What each row counts, [N]; None counts all alike.
    """
    _, places = np.unique(values, return_inverse=True)
    each = np.bincount(places, weights).astype(np.float64)
    found: Array = (np.cumsum(each) - each / 2)[places]
    return found
