"""Predictions as columns of a table: classes in words, values, and the probability of each class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stepbus.base.scoring import decide
from stepbus.text.labels.columns import Column

Array = np.ndarray[Any, Any]


def decoded_columns(
    task: str | None,
    columns: Sequence[str],
    names: Sequence[str],
    predictions: Array,
    decided: Array | None = None,
    thresholds: Sequence[float] | None = None,
) -> list[Column]:
    """Name predictions as columns of a table; see `LabelCodec.decoded_columns`."""
    wanted = 1 if task == "regression" else 2
    if predictions.ndim != wanted or (wanted == 2 and predictions.shape[1] != len(names)):
        expected = f"[N, {len(names)}] probabilities" if wanted == 2 else "[N] values in the target's own unit"
        raise ValueError(f"expected {expected}, got an array of shape {list(predictions.shape)}")
    if task == "regression":
        return [Column(columns[0], predictions, own=True)]
    if decided is not None:
        _check_decided(task, names, predictions, decided)
    chances = [Column(f"probability_{name}", predictions[:, index]) for index, name in enumerate(names)]
    if task == "multilabel":
        on = decide(predictions, task, thresholds) if decided is None else decided
        flags = [
            _known(flag.astype(np.int64), np.isfinite(column)) for flag, column in zip(on.T, predictions.T, strict=True)
        ]
        return [*(Column(name, flag, own=True) for name, flag in zip(names, flags, strict=True)), *chances]
    numbers = decide(predictions, task, thresholds) if decided is None else decided
    chosen = _known(in_words(names, numbers), np.isfinite(predictions.sum(axis=1)))
    return [Column(columns[0], chosen, own=True), *chances]


def _check_decided(task: str | None, names: Sequence[str], predictions: Array, decided: Array) -> None:
    """Refuse decisions that are no classes, of which some would be read from the end.

    Raises:
        ValueError: They are not.
    """
    several = task == "multilabel"
    shape, most = (predictions.shape, 2) if several else (predictions.shape[:1], len(names))
    whole = decided.shape == shape and decided.dtype.kind in "biu"
    if not whole or (decided.size and not 0 <= decided.min() <= decided.max() < most):
        expected = "0/1 for each label" if several else f"class numbers below {most}"
        got = f"{list(decided.shape)} of {decided.dtype}"
        raise ValueError(f"expected what was decided as {expected}, {list(shape)}, got {got}")


def in_words(names: Sequence[str], numbers: Array) -> Array:
    """Return class numbers [N] as the names of the classes, or as whole numbers where all classes are such."""
    whole = all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", name) for name in names)
    classes = np.array([int(name) for name in names]) if whole else np.array(names, dtype=object)
    found: Array = classes[numbers]
    return found


def _known(values: Array, known: Array) -> Array:
    """Return values with None where they are not known."""
    if known.all():
        return values
    found = values.astype(object)
    found[~known] = None
    return found
