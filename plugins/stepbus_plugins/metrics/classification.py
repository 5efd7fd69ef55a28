"""Metrics of decisions: which class a row is taken for, or which labels it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from stepbus import BadInput, class_order, decide, thresholds_of
from stepbus_plugins.metrics.settings import AveragedConfig, DecisionConfig, KappaConfig, OrderConfig
from stepbus_plugins.metrics.shared import Array, Weights, guarded, task_of

Decide = Callable[[Array, Array], Array]


def decider(settings: DecisionConfig, codec: Any = None) -> Decide:
    """Return what decides, (labels, predictions) -> class numbers [N], or 0/1 [N, K] for a multilabel set.

    Args:
        settings: Its threshold is the metric's own, and stands above that of section `data`.
        codec: Knows the labels, and the threshold of section `data`; None where the labels came as numbers.
    """
    names, common = (codec.names, codec.thresholds) if codec is not None else (None, None)

    def decided(labels: Array, predictions: Array) -> Array:
        task = task_of(labels, predictions)
        own = thresholds_of(settings.threshold, task, names or predictions.shape[1], "training.metrics: threshold")
        return decide(predictions, task, common if own is None else own)

    return decided


def accuracy(settings: DecisionConfig, codec: Any = None) -> Callable[..., float]:
    """Return the share of rows that are right; a multilabel row is right when all its labels are."""
    decided = decider(settings, codec)

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        right = decided(labels, predictions) == labels
        right = right.all(axis=1) if right.ndim == 2 else right
        return float(right.mean() if weights is None else np.average(right, weights=weights))

    return score


def averaged(name: str, average: str | None = None) -> Callable[..., Callable[..., float]]:
    """Return what builds precision, recall or f1.

    Args:
        name: Which of the three.
        average: Fixed; None asks the settings.
    """

    def build(settings: AveragedConfig | DecisionConfig, codec: Any = None) -> Callable[..., float]:
        wished = average or getattr(settings, "average", "auto")
        decided = decider(settings, codec)

        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn.metrics import precision_recall_fscore_support

            binary = task_of(labels, predictions) == "binary"
            how = ("binary" if binary else "macro") if wished == "auto" else wished
            if how == "binary" and not binary:  # `validate_plan` has refused it; this is for who calls it directly
                raise BadInput(
                    f"training.metrics: {name} with average: binary is for two classes; take macro, micro or weighted"
                )
            # One label alone would be two classes to scikit-learn, of which only the second is the label.
            alone = task_of(labels, predictions) == "multilabel" and predictions.shape[1] == 1
            scores = precision_recall_fscore_support(
                labels.astype(np.int64),
                decided(labels, predictions),
                labels=[1] if alone else None,
                average=how,
                zero_division=0.0,
                sample_weight=weights,
            )
            return float(dict(zip(("precision", "recall", "f1"), scores, strict=False))[name])

        return score

    return build


def mcc(settings: DecisionConfig, codec: Any = None) -> Callable[..., float]:
    """Return the correlation of labels and decisions (Matthews 1975; of more classes Gorodkin 2004).

    It is 0 where the decisions are all one class, and undefined where the labels are.
    """
    decided = decider(settings, codec)

    @guarded
    def score(labels: Array, predictions: Array, weights: Weights) -> float:
        from sklearn.metrics import matthews_corrcoef

        numbers, found = labels.astype(np.int64), decided(labels, predictions)
        if np.ptp(numbers) == 0:
            return math.nan
        return float(matthews_corrcoef(numbers, found, sample_weight=weights))

    return score


def kappa(weighting: str = "") -> Callable[..., Callable[..., float]]:
    """Return what builds Cohen's kappa: the agreement of labels and decisions beyond chance.

    With linear or quadratic weights an error counts by how many places of the order of the classes it is off. It is
    undefined where labels and decisions are all one and the same class.

    Args:
        weighting: none, linear or quadratic; "" asks the settings.
    """

    def build(settings: KappaConfig | OrderConfig, codec: Any = None) -> Callable[..., float]:
        wished = weighting or getattr(settings, "weights", "none")
        decided = decider(settings if isinstance(settings, DecisionConfig) else DecisionConfig(), codec)
        classes = None if codec is None or wished == "none" else codec.names
        order = classes and class_order(classes, settings.order, "training.metrics: order")

        @guarded
        def score(labels: Array, predictions: Array, weights: Weights) -> float:
            from sklearn.metrics import cohen_kappa_score

            numbers, found = labels.astype(np.int64), decided(labels, predictions)
            if np.ptp(np.concatenate([numbers, found])) == 0:
                return math.nan
            return float(
                cohen_kappa_score(
                    numbers,
                    found,
                    labels=order or range(predictions.shape[1]),  # the order of these is that of the classes
                    weights=None if wished == "none" else wished,
                    sample_weight=weights,
                )
            )

        return score

    return build
