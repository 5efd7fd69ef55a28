"""What the training rows of each class weigh together: what a loss goes by that balances the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.base import DataError, show

if TYPE_CHECKING:
    from stepbus.text.labels.codec import LabelCodec


@frozen
class ClassCounts:
    """How much training rows count, by class.

    Args:
        by_class: What the rows of each class weigh together, soft labels by their probability; of several labels, the
            rows in which each is true. Empty for a regression.
        total: What all rows weigh together.
    """

    by_class: tuple[float, ...]
    total: float

    @classmethod
    def of(cls, codec: LabelCodec, labels: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> ClassCounts:
        """Count training rows.

        Args:
            codec: The labels.
            labels: As the loss takes them: class numbers [N], 0 to 1 [N, K], or values [N].
            weights: What each row counts, [N].
        """
        weights = weights.astype(np.float64)
        total = float(weights.sum())
        if codec.task == "regression":
            return cls((), total)
        if labels.ndim == 2:
            return cls(tuple((weights[:, None] * labels.astype(np.float64)).sum(axis=0).tolist()), total)
        return cls(tuple(np.bincount(labels, weights, minlength=len(codec.names)).tolist()), total)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"by_class": list(self.by_class), "total": self.total}

    @classmethod
    def from_state(cls, saved: Any, codec: LabelCodec) -> ClassCounts:
        """Return what `state_dict` returned.

        Args:
            saved: What was read.
            codec: The labels that stand beside it.

        Raises:
            DataError: It is something else; the key is named.
        """
        if not isinstance(saved, Mapping):
            raise DataError(f"counts: expected a mapping, got {show(saved)}")
        counts, wanted = saved.get("by_class"), 0 if codec.task == "regression" else len(codec.names)
        if not isinstance(counts, list) or len(counts) != wanted:
            got = f"{len(counts)}" if isinstance(counts, list) else show(counts)
            raise DataError(f"counts.by_class: expected a list of {wanted} numbers, got {got}")
        for key, value in [("by_class", each) for each in counts] + [("total", saved.get("total"))]:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise DataError(f"counts.{key}: expected a finite number of at least 0, got {show(value)}")
        return cls(tuple(map(float, counts)), float(saved["total"]))
