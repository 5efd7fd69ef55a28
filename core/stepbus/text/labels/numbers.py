"""How training labels are spread: how often each is there, or where their values lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import counted

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.text.labels.codec import LabelCodec
    from stepbus.text.rows import Rows

# Of more classes only the first are named.
MOST_CLASSES = 8


def label_counts(codec: LabelCodec, targets: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return how often each class or column is there, or where the values of a regression lie: min, median and max.

    Args:
        codec: The labels.
        targets: As metrics want them: class numbers [N], 0/1 [N, K], or values [N].

    Example:
        >>> label_counts(trainer.codec, np.array([0, 1, 1, 1]))
        {'0': 1, '1': 3}
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


def weights_in_words(config: Config, rows: Rows, left_out: int) -> dict[str, str]:
    """Return what training rows count and how soft their labels are, each with the setting that says it.

    Args:
        config: The configuration.
        rows: The training rows that count.
        left_out: How many others weigh 0.
    """
    settings, found = config.data.settings, dict[str, str]()
    if rows.weights is not None:
        by = "by a plugin" if settings.weight is None else f"by column {settings.weight!r} (data.weight)"
        low, mean, high = rows.weights.min(), rows.weights.mean(), rows.weights.max()
        rest = f"; {counted(left_out, 'row')} of weight 0 left out" if left_out else ""
        found["weights"] = f"{by}: from {low:g} to {high:g}, mean {mean:g}{rest}"
    if rows.soft is not None:
        columns = settings.soft_labels or {}
        named = ", ".join(
            f"{name} from {column!r}" if column else f"{name}: the rest" for name, column in columns.items()
        )
        found["soft labels"] = f"{named} (data.soft_labels)" if named else f"by a plugin: {', '.join(rows.classes)}"
    return found
