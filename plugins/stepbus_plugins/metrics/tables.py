"""The tables shown at the end: who was taken for whom, and each class's own scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepbus_plugins.metrics.scores import decide

Array = np.ndarray[Any, Any]
Table = tuple[str, list[str], list[list[str]]]

# A wider confusion table does not fit a terminal.
WIDEST = 12


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


def tables(
    labels: Array, predictions: Array, names: Sequence[str], threshold: float = 0.5, weights: Array | None = None
) -> list[Table]:
    """Return (title, columns, rows) of what is worth showing of a set; nothing for a regression.

    Args:
        labels: [N] class numbers, [N, K] 0/1, or [N] values.
        predictions: [N, K] probabilities, or [N] values.
        names: K class or label names.
        threshold: Probability from which a row is of the second of two classes, or has a label.
        weights: What each row counts, [N]; None counts rows.
    """
    if predictions.ndim == 1 or len(labels) == 0 or not np.isfinite(predictions).all():
        return []
    found: list[Table] = []
    predicted = decide(labels, predictions, threshold)
    two = labels.ndim == 2 or predictions.shape[1] == 2
    at = f", from a probability of {threshold:g} on" if two and threshold != 0.5 else ""
    at += "" if weights is None else ", by weight"
    if labels.ndim == 1:
        counts = confusion(labels, predicted, len(names), weights)
        hits, true, guessed = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        if len(names) <= WIDEST:
            rows = [[name, *map(_count, row)] for name, row in zip(names, counts.tolist(), strict=True)]
            found.append((f"confusion (rows: true, columns: predicted{at})", ["", *names], rows))
    else:
        each_row = np.ones(len(labels)) if weights is None else weights
        hits, true, guessed = (each_row @ counts for counts in (predicted * labels, labels, predicted))
    columns = ["class" if labels.ndim == 1 else "label", "precision", "recall", "f1"]
    columns.append("rows" if weights is None else "weight")
    each = [
        [name, _ratio(hit, guess), _ratio(hit, rows), _ratio(2 * hit, guess + rows), _count(rows)]
        for name, hit, rows, guess in zip(names, hits, true, guessed, strict=True)
    ]
    return [*found, (f"each {columns[0]}{at}", columns, each)]


def _count(number: float) -> str:
    """Return a number of rows, or a sum of weights."""
    return str(int(number)) if number == int(number) else f"{number:.4g}"


def _ratio(part: float, whole: float) -> str:
    """Return a share with four digits, or a dash where there is nothing to share."""
    return f"{part / whole:.4f}" if whole else "-"
