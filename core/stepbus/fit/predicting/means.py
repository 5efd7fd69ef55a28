"""The mean of what several models, or several views, say of the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve

from stepbus.base import DataError
from stepbus.kernel import Predictions


def mean_predictions(predictions: Sequence[Predictions]) -> Predictions:
    """Return the mean of what several models say of the same rows, added up in their order in double precision.

    Args:
        predictions: One for each model.

    Raises:
        DataError: They are of other rows, or of other outputs.

    Example:
        >>> one, other = (Predictions(np.arange(2), np.array(values)) for values in ([0.0, 4.0], [1.0, 2.0]))
        >>> mean_predictions([one, other]).values
        array([0.5, 3. ])
    """
    first = predictions[0]
    total = np.zeros(first.values.shape, np.float64)
    for each in predictions:
        if each.values.shape != total.shape or each.row_ids.tolist() != first.row_ids.tolist():
            raise DataError(
                f"expected predictions of the same {len(first.row_ids)} rows with as many outputs to take their mean, "
                f"got arrays of {list(total.shape)} and {list(each.values.shape)}, or other row ids"
            )
        total += each.values
    return evolve(first, values=(total / len(predictions)).astype(first.values.dtype), fold=None, decided=None)
