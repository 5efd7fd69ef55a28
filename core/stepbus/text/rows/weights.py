"""Weights and soft labels as arrays: one entry a row, and nothing that is no weight or no probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from stepbus.base import DataError

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

# Weights that single precision can sum up; the mean loss knows nothing of their scale.
SMALLEST, LARGEST = 1e-12, 1e12
WEIGHT = f"expected a weight, 0 or a number from {SMALLEST:g} to {LARGEST:g}"
# How far probabilities may be from what they have to be, as rounded ones are.
ROUNDING = 1e-6


class Placed(Protocol):
    """Rows as far as a message needs them."""

    @property
    def source(self) -> str: ...
    def __len__(self) -> int: ...
    def where(self, index: int) -> str: ...


def checked_weights(rows: Placed, weights: Any) -> FloatArray:
    """Return weights of rows, float64 [N].

    Args:
        rows: N rows.
        weights: A number for each.

    Raises:
        DataError: There are more or fewer, or one is no weight.
    """
    try:
        found: FloatArray = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{rows.source}: weights: expected numbers, got something else") from None
    if found.shape != (len(rows),):
        raise DataError(
            f"{rows.source}: weights: expected one for each of {len(rows)} rows, got the shape {list(found.shape)}"
        )
    right = (found == 0) | ((found >= SMALLEST) & (found <= LARGEST))
    if not right.all():
        index = int(np.flatnonzero(~right)[0])
        raise DataError(f"{rows.where(index)}: weights: {WEIGHT}, got {found[index]:g}")
    found.setflags(write=False)
    return found


def checked_soft(rows: Placed, soft: Any, classes: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
    """Return soft labels of rows, float64 [N, K], and the K classes; whether they sum to 1 depends on the task.

    Args:
        rows: N rows.
        soft: The probability of each class, [N, K]; of a single class also [N].
        classes: What the columns stand for.

    Raises:
        DataError: The shapes do not fit, or one is no probability.
    """
    names = tuple(map(str, classes))
    if isinstance(classes, str) or not names or len(set(names)) != len(names):
        raise DataError(f"{rows.source}: soft labels: expected the names of different classes, got {classes!r}")
    try:
        found: FloatArray = np.array(soft, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{rows.source}: soft labels: expected numbers, got something else") from None
    if found.ndim == 1 and len(names) == 1:
        found = found[:, None]
    if found.shape != (len(rows), len(names)):
        raise DataError(
            f"{rows.source}: soft labels: expected probabilities of {len(rows)} rows and {len(names)} classes, got the "
            f"shape {list(found.shape)}"
        )
    wrong = ~((found >= -ROUNDING) & (found <= 1 + ROUNDING))
    if wrong.any():
        index, place = map(int, np.argwhere(wrong)[0])
        raise DataError(
            f"{rows.where(index)}: soft labels: expected a probability of {names[place]!r} from 0 to 1, got "
            f"{found[index, place]:g}"
        )
    found = found.clip(0, 1)
    found.setflags(write=False)
    return found, names
