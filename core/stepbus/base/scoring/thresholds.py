"""From which probability on a row has a label: one threshold, or one for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError, did_you_mean, show

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Threshold = float | list[float] | dict[str, float]
USUAL = 0.5


def is_threshold(value: Threshold) -> bool:
    """Return whether a threshold, or each of several, is a number between 0 and 1.

    Example:
        >>> is_threshold({"toxic": 0.3}), is_threshold([0.2, 1.0])
        (True, False)
    """
    each = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    return bool(each) and all(0 < number < 1 for number in each)


def threshold_problem(threshold: Threshold, task: str | None, names: Sequence[str] | int | None = None) -> str:
    """Return what is wrong with a threshold for a task, in words, or "".

    Args:
        threshold: One number, one for each label in their order, or by name; a label that is not named has 0.5.
        task: binary, multiclass, multilabel or regression.
        names: The labels of a multilabel task, or how many there are; None where nobody knows.

    Example:
        >>> threshold_problem([0.3, 0.4], "multilabel", ["toxic", "rude", "spam"])
        'expected one number for each of the 3 labels, or one for all, got 2'
    """
    if task == "regression":
        return f"expected none for a regression, where nothing is decided, got {show(threshold)}; leave it out"
    if task == "multiclass" and threshold != USUAL:
        words = "expected none for more than two classes, where the most probable one counts"
        return f"{words}, got {show(threshold)}; leave it out"
    if task == "binary" and not isinstance(threshold, float):
        return f"expected one number for two classes, from which a row is of the second, got {show(threshold)}"
    number = names if isinstance(names, int) or names is None else len(names)
    if isinstance(threshold, list) and number is not None and len(threshold) != number:
        return f"expected one number for each of the {number} labels, or one for all, got {len(threshold)}"
    if isinstance(threshold, Mapping) and names is not None:
        if isinstance(names, int):
            return f"expected a list of {names} numbers, because the labels came without names, got {show(threshold)}"
        for name in threshold:
            if name not in names:
                return f"expected a label out of {', '.join(names)}, got {name!r}{did_you_mean(name, names)}"
    return ""


def thresholds_of(
    threshold: Threshold | None, task: str | None, names: Sequence[str] | int, where: str = "threshold"
) -> tuple[float, ...] | None:
    """Return the threshold of each label, or of the second of two classes; None where none is set.

    Args:
        threshold: As it is written: a number, a list, or a mapping by name; a label that is not named has 0.5.
        task: binary, multiclass, multilabel or regression.
        names: The labels, or how many there are.
        where: What a message calls the setting.

    Raises:
        DataError: It is none for this task.

    Example:
        >>> thresholds_of({"toxic": 0.3}, "multilabel", ["toxic", "rude"])
        (0.3, 0.5)
    """
    if threshold is None:
        return None
    if words := threshold_problem(threshold, task, names):
        raise DataError(f"{where}: {words}")
    if task == "multilabel":
        if isinstance(threshold, Mapping):
            assert not isinstance(names, int)
            return tuple(threshold.get(name, USUAL) for name in names)
        return tuple(threshold) if isinstance(threshold, list) else (threshold,) * _count(names)
    return None if task == "multiclass" else (threshold,)  # type: ignore[return-value]  # one number, as was checked


def decide(predictions: Array, task: str | None, thresholds: Sequence[float] | None = None) -> Array:
    """Return what probabilities come to: class numbers [N], or 0/1 [N, K] of a multilabel task.

    A label is given from its threshold on, and so is the second of two classes. Without a threshold a label is given
    from 0.5 on, and a class is the most probable one, a tie the first, which is always so for more than two classes.

    Args:
        predictions: Probabilities [N, K].
        task: binary, multiclass or multilabel.
        thresholds: That of each label, [K], or of the second of two classes, [1]; None is 0.5.

    Example:
        >>> import numpy as np
        >>> decide(np.array([[0.6, 0.4]]), "binary", [0.3]).tolist()
        [1]
    """
    import numpy as np

    # As the probabilities are: 0.7 of float32 is below that of float64.
    bounds = None if thresholds is None else np.asarray(thresholds, dtype=predictions.dtype)
    if task == "multilabel":
        return np.asarray(predictions >= (USUAL if bounds is None else bounds), dtype=np.int64)
    if bounds is None or task != "binary" or tuple(thresholds or ()) == (USUAL,):
        return np.asarray(predictions.argmax(axis=1))
    return np.asarray(predictions[:, 1] >= bounds[0], dtype=np.int64)


def _count(names: Sequence[str] | int) -> int:
    return names if isinstance(names, int) else len(names)
