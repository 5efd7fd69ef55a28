"""How training labels are spread: how often each is there, or where their values lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stepbus.labels import LabelCodec


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
