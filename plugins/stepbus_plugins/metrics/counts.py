"""Who was taken for whom, and each class's own scores, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

from stepbus import Column, decide
from stepbus_plugins.metrics.shared import Array, task_of

USUAL = 0.5


@frozen(eq=False)
class Counts:
    """What decisions come to, in rows or in sums of their weights.

    Args:
        names: K class or label names.
        labels: Whether each is a label of its own, of which a row has any number.
        thresholds: From which probability each label, or the second of two classes, was decided for; none for more.
        weighted: Whether rows counted by weight.
        confusion: [K, K] true class (row) and decided class (column); of labels [K, 4] true negative, false positive,
            false negative, true positive.
    """

    names: list[str]
    labels: bool
    thresholds: tuple[float, ...]
    weighted: bool
    confusion: Array

    @property
    def hits(self) -> Array:
        """What was rightly taken for each class, [K]."""
        return self.confusion[:, 3] if self.labels else self.confusion.diagonal()

    @property
    def true(self) -> Array:
        """What is of each class, [K]."""
        return np.asarray(self.confusion[:, 2:].sum(axis=1) if self.labels else self.confusion.sum(axis=1))

    @property
    def taken(self) -> Array:
        """What was taken for each class, [K]."""
        return np.asarray(self.confusion[:, 1::2].sum(axis=1) if self.labels else self.confusion.sum(axis=0))

    @property
    def scores(self) -> dict[str, Array]:
        """Precision, recall and F1 of each class, [K], which the metrics take the mean of.

        A class that nobody predicted has a precision of 0, one that no row has a recall of 0; what is neither has none.
        """
        hits, true, taken = (part.astype(np.float64) for part in (self.hits, self.true, self.taken))
        shares = {"precision": (hits, taken), "recall": (hits, true), "f1": (2 * hits, true + taken)}
        least = np.where(true + taken > 0, np.finfo(np.float64).tiny, np.nan)
        return {name: part / np.maximum(whole, least) for name, (part, whole) in shares.items()}

    @property
    def at(self) -> str:
        """What a title says of how it was decided and counted, or ""."""
        said = ""
        if set(self.thresholds) - {USUAL}:
            each = sorted(set(self.thresholds))
            said = f", from a probability of {each[0]:g} on" if len(each) == 1 else ", from each label's threshold on"
        return said + (", by weight" if self.weighted else "")

    def confusion_columns(self) -> list[Column]:
        """Return the confusion matrix as columns of a file; of labels, one row each."""
        heads = ["true_negative", "false_positive", "false_negative", "true_positive"] if self.labels else self.names
        own = not self.labels
        columns = [Column(head, _whole(self.confusion[:, k]), own=own) for k, head in enumerate(heads)]
        return [Column("label" if self.labels else "true", np.array(self.names, dtype=object)), *columns]

    def class_columns(self) -> list[Column]:
        """Return each class's threshold, scores and support as columns of a file."""
        columns = [Column("label" if self.labels else "class", np.array(self.names, dtype=object))]
        if self.labels:
            columns.append(Column("threshold", np.array(self.thresholds)))
        elif self.thresholds:  # the second of two classes has it
            columns.append(Column("threshold", np.array([None, self.thresholds[0]], dtype=object)))
        columns += [Column(name, _cells(values)) for name, values in self.scores.items()]
        return [*columns, Column("support", _whole(self.true))]


def counts(
    labels: Array,
    predictions: Array,
    names: Sequence[str],
    thresholds: Sequence[float] | None = None,
    weights: Array | None = None,
) -> Counts | None:
    """Return what the decisions of a set come to; None for a regression, without rows, and where a model diverged.

    Args:
        labels: [N] class numbers, [N, K] 0/1, or [N] values.
        predictions: [N, K] probabilities, or [N] values.
        names: K class or label names.
        thresholds: Of each label, or of the second of two classes; None is 0.5.
        weights: What each row counts, [N]; None counts rows.
    """
    if predictions.ndim == 1 or len(labels) == 0 or not np.isfinite(predictions).all():
        return None
    task, names = task_of(labels, predictions), list(names)
    decided = decide(predictions, task, thresholds)
    usual = {"binary": 1, "multilabel": len(names)}.get(task, 0)
    bounds = tuple(thresholds or (USUAL,) * usual)
    if task != "multilabel":
        found = confusion(labels, decided, len(names), weights)
        return Counts(names, False, bounds, weights is not None, found)
    places = labels.astype(np.int64) * 2 + decided
    each = [np.bincount(places[:, k], weights, minlength=4) for k in range(len(names))]
    return Counts(names, True, bounds, weights is not None, np.stack(each))


def confusion(labels: Array, predicted: Array, classes: int, weights: Array | None = None) -> Array:
    """Return the counts [K, K] of true class (row) and predicted class (column).

    Args:
        labels: [N] class numbers.
        predicted: [N] class numbers.
        classes: K.
        weights: What each row counts, [N]; None counts rows.
    """
    places = labels.astype(np.int64) * classes + predicted
    return np.bincount(places, weights, minlength=classes * classes).reshape(classes, classes)


def _whole(values: Array) -> Array:
    """Return numbers of rows as whole ones, also where they are sums of weights that are."""
    return values.astype(np.int64) if (values == np.floor(values)).all() else values


def _cells(values: Array) -> Any:
    """Return numbers as cells of a file, empty where there is none."""
    cells = values.astype(object)
    cells[np.isnan(values)] = None
    return cells
