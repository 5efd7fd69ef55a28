"""What each row counts, and soft labels, from the columns that settings name; rows that count for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stepbus.base import DataError
from stepbus.text.rows import LARGEST, ROUNDING, SMALLEST, WEIGHT, FloatArray, Rows, as_number

if TYPE_CHECKING:
    from stepbus.config import DataSettings


def weighed(rows: Rows, config: DataSettings, *, training: bool = False, labels: Sequence[str] | None = None) -> Rows:
    """Return rows with the weights and the soft labels of the columns that settings name.

    Args:
        rows: The rows; weights and soft labels that they have already stay.
        config: The data section; `weight`, `soft_labels` and `label` are used.
        training: Whether the columns have to be there. Other rows count 1 each without weights, and have the labels of
            `label` without soft ones; that is said.
        labels: The columns of labels without soft ones, where a trained model knows them; None takes those of `label`.

    Raises:
        DataError: A column is missing, or a cell is no weight or no probability.
    """
    if config.weight is not None and rows.weights is None:
        if training or config.weight in rows.frame.columns:
            rows = rows.with_weights(_numbers(rows, config.weight, "data.weight", "a weight", WEIGHT))
        else:
            rows.say(f"there is no column {config.weight!r} (data.weight), so each row counts 1")
    if config.soft_labels is not None and rows.soft is None:
        columns = [column for column in config.soft_labels.values() if column is not None]
        hard = [config.label] if isinstance(config.label, str) else config.label or []
        if labels is not None:
            hard = [name for name in labels if name in rows.frame.columns] or hard
        if training or any(column in rows.frame.columns for column in columns) or not hard:
            for name in hard if training else ():
                rows.column(name, "data.label")
            rows = rows.with_soft_labels(_probabilities(rows, config.soft_labels), tuple(config.soft_labels))
        else:
            rows.say(f"there is no column {columns[0]!r} (data.soft_labels), so the labels in {hard[0]!r} are certain")
    return rows


def _numbers(rows: Rows, column: str, setting: str, what: str, expected: str) -> FloatArray:
    """Return the numbers of a column without gaps; those that are none are refused by their row."""
    found = np.zeros(len(rows))
    for index, cell in enumerate(rows.present(column, setting, what)):
        number = as_number(cell)
        low, high = (0.0, 1.0 + ROUNDING) if setting == "data.soft_labels" else (0.0, LARGEST)
        if number is None or not (low <= number <= high) or (setting == "data.weight" and 0 < number < SMALLEST):
            raise rows.error(index, column, f"{expected}, got {cell!r}")
        found[index] = number
    return found


def _probabilities(rows: Rows, columns: dict[str, str | None]) -> FloatArray:
    """Return the probability of each class, [N, K]; a class without a column has what the others leave."""
    expected = "expected a probability from 0 to 1"
    found = [
        np.zeros(len(rows)) if column is None else _numbers(rows, column, "data.soft_labels", "a probability", expected)
        for column in columns.values()
    ]
    if None in columns.values():
        rest = 1 - np.sum(found, axis=0)
        if (rest < -ROUNDING).any():
            index = int(np.flatnonzero(rest < -ROUNDING)[0])
            raise DataError(
                f"{rows.where(index)}: data.soft_labels: expected probabilities whose sum is at most 1, because the "
                f"last class has the rest, got {1 - rest[index]:g}"
            )
        found[list(columns.values()).index(None)] = rest
    return np.stack(found, axis=1)


def rows_that_count(rows: Rows) -> Rows:
    """Return the rows that count: those of weight 0 are left out."""
    if rows.weights is None or (rows.weights > 0).all():
        return rows
    return rows.take(np.flatnonzero(rows.weights > 0))


def refuse_weightless(rows: Rows) -> None:
    """Refuse a set in which nothing counts.

    Raises:
        DataError: All its rows weigh 0.
    """
    if rows.weights is not None and not (rows.weights > 0).any():
        raise DataError(f"{rows.source}: expected a {rows.name} row of a weight above 0, got 0 for all {len(rows)}")
