"""Scores of the probabilities themselves: log loss, calibration, and whether the class is among the most probable."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stepbus import BadInput
from stepbus_plugins.metrics.ranking import one_against_rest
from stepbus_plugins.metrics.settings import CalibrationConfig, TopConfig, ValueConfig
from stepbus_plugins.metrics.shared import Array, Weights, guarded, task_of

# Further from 1 the probabilities of a row are none; nearer, float32 has rounded them.
ROUNDING = 1e-3


def log_loss(settings: ValueConfig) -> Callable[..., float]:
    """Return the mean of -log of the label's probability; of several labels, the mean of that over the labels too.

    A probability of 0 counts as scikit-learn counts it, as the smallest step of float64 (a loss of 36). It is NaN
    where the probabilities of a row do not sum to 1.
    """

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        from sklearn.metrics import log_loss as of_sklearn

        values = predictions.astype(np.float64)
        if (values < 0).any() or (values > 1).any():
            return math.nan
        if task_of(labels, values) == "multilabel":
            pairs = [
                (labels[:, k] > 0.5, np.stack([1 - values[:, k], values[:, k]], 1)) for k in range(values.shape[1])
            ]
        else:
            sums = values.sum(axis=1, keepdims=True)
            if (abs(sums - 1) > ROUNDING).any():
                return math.nan
            pairs = [(labels.astype(np.int64), values / sums)]
        return float(
            np.mean(
                [of_sklearn(truth, chances, sample_weight=weights, labels=range(chances.shape[1]))
                 for truth, chances in pairs]
            )
        )  # fmt: skip

    return score


def top_k(settings: TopConfig) -> Callable[..., float]:
    """Return the share of rows whose class is among the k most probable ones."""

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        from sklearn.metrics import top_k_accuracy_score

        classes = predictions.shape[1]
        if settings.k >= classes:  # `validate_plan` has refused it; this is for who calls it directly
            raise BadInput(f"training.metrics: k: expected fewer than the {classes} classes, got {settings.k}")
        return float(
            top_k_accuracy_score(labels, predictions, k=settings.k, labels=range(classes), sample_weight=weights)
        )

    return score


def calibration_error(settings: CalibrationConfig) -> Callable[..., float]:
    """Return the expected calibration error: how far probabilities are from how often they hold, bin by bin.

    Rows are put into bins of equal width by a probability; the error is the mean over the rows, by weight, of the gap
    between the mean probability of their bin and the share of its rows for which it held.

    Two classes: the probability of the second, and whether the row is of it (Naeini, Cooper and Hauskrecht 2015, AAAI).
    More: the probability of the most probable class, and whether it is right (Guo et al. 2017, arXiv 1706.04599).
    Several labels: the mean over the labels of each one's error as of two classes.
    """

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        values = predictions.astype(np.float64)
        if (values < 0).any() or (values > 1).any():
            return math.nan
        if task_of(labels, values) == "multiclass":
            held, chances = (values.argmax(axis=1) == labels)[:, None], values.max(axis=1, keepdims=True)
        else:
            held, chances = one_against_rest(labels, values)
        rows = np.ones(len(labels)) if weights is None else weights
        each = [_gap(held[:, k], chances[:, k], rows, settings.bins) for k in range(held.shape[1])]
        return float(np.mean(each))

    return score


def _gap(held: Array, chances: Array, weights: Array, bins: int) -> float:
    """Return the mean over rows of the gap in their bin; the bins are ]0, 1/B], …, ](B-1)/B, 1], and 0 is in the first.

    Args:
        held: Whether it held, bool [N].
        chances: The probability that it would, [N].
        weights: What each row counts, [N].
        bins: B.
    """
    places = np.clip(np.ceil(chances * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights * (held - chances), minlength=bins)
    return float(abs(gaps).sum() / weights.sum())
