"""How training labels are spread: how often each is there, or where their values lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stepbus.text.labels.codec import LabelCodec

# Of more classes only the first are named.
MOST_CLASSES = 8


def label_counts(codec: LabelCodec, targets: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return how often each class or column is there, or where the values of a regression lie: min, median and max.

    Args:
        codec: The labels.
        targets: As metrics want them: class numbers [N], 0/1 [N, K], or values [N].
    """
    if codec.task == "regression":
        low, middle, high = np.quantile(targets, [0.0, 0.5, 1.0]).tolist()
        return {"min": low, "median": middle, "max": high}
    if codec.task == "multilabel":
        counts = targets.sum(axis=0).astype(int)
    else:
        counts = np.bincount(targets, minlength=len(codec.names))
    return dict(zip(codec.names, counts.tolist(), strict=True))


def labels_in_words(codec: LabelCodec, targets: np.ndarray[Any, Any]) -> str:
    """Return the training labels: their counts, or where their values lie.

    Args:
        codec: The labels.
        targets: Those of the training rows, in their own unit.
    """
    counts = label_counts(codec, targets)
    if codec.task == "regression":
        return f"regression from {counts['min']:g} to {counts['max']:g}, median {counts['median']:g}"
    named = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:MOST_CLASSES])
    return f"{codec.task}: {named}{', …' if len(counts) > MOST_CLASSES else ''}"
