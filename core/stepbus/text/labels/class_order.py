"""Classes from the lowest to the highest: numbers lie so by themselves, words where somebody says it."""

from __future__ import annotations

from collections.abc import Sequence

from stepbus.base import DataError, did_you_mean, listed
from stepbus.text.rows import as_number


def class_order(classes: Sequence[str], order: Sequence[str] | None, setting: str) -> tuple[int, ...]:
    """Return the places of classes from the lowest to the highest, [K].

    Args:
        classes: The K classes, in the order of the outputs.
        order: The same from the lowest to the highest; None takes numbers by their value, as they stand already.
        setting: The setting that says the order, for messages.

    Raises:
        DataError: It names others, or nothing says the order of words.

    Example:
        >>> class_order(["high", "low", "middle"], ["low", "middle", "high"], "model.head.order")
        (1, 2, 0)
    """
    if order is None:
        if len(classes) > 2 and any(as_number(name) is None for name in classes):
            raise DataError(
                f"{setting}: expected the classes from the lowest to the highest, because words have no order of "
                f"their own, got none; put these in order: [{', '.join(classes)}]"
            )
        return tuple(range(len(classes)))
    for name in order:
        if name not in classes:
            near = did_you_mean(name, classes)
            raise DataError(f"{setting}: expected the classes {listed(classes)}, got {name!r}{near}")
    if missing := [name for name in classes if name not in order]:
        raise DataError(f"{setting}: expected every class from the lowest to the highest, got none of {missing[0]!r}")
    if len(order) != len(classes):
        twice = next(name for name in order if list(order).count(name) > 1)
        raise DataError(f"{setting}: expected every class once, got {twice!r} again")
    return tuple(list(classes).index(name) for name in order)
