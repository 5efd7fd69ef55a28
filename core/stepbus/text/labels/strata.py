"""Which rows belong together when a split or folds keep the shares of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def strata_of(task: str | None, labels: Array, least: int) -> Array:
    """Return a class number for each row; see `LabelCodec.strata`.

    Args:
        task: The task.
        labels: As `LabelCodec.encode` returns them.
        least: Combinations of labels that are rarer count as one class, and no part of a range has fewer rows.
    """
    if task == "regression":
        ranks = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
        return np.asarray(ranks * min(10, max(1, len(labels) // least)) // len(labels), np.int64)
    if task == "multilabel":
        _, classes, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        classes = classes.reshape(-1)
        common = int(counts.argmax())
        rare = counts[classes] < least
        # Where even all rare ones together are too few, they go with the most common combination.
        return np.asarray(np.where(rare, -1 if rare.sum() >= least else common, classes), np.int64)
    return labels.astype(np.int64)
