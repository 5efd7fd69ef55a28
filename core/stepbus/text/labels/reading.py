"""The cells of label columns: present, numbers, classes, or 0 and 1; what is none of them is refused by its row."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from stepbus.base import DataError, LabelArray
from stepbus.text.labels.checks import warn_of_classes
from stepbus.text.labels.words import class_names, one_word, word_kind
from stepbus.text.rows import Kind, Rows, as_number, shown

FloatArray = np.ndarray[tuple[int, ...], np.dtype[Any]]


def present(rows: Rows, column: str) -> list[str]:
    """Return the cells of a label column, none of which is empty, [N].

    Raises:
        DataError: There is no such column, or a cell is empty.
    """
    rows.column(column, "data.label")
    rows.cells(column, "for several labels a row write a 0/1 column for each, and data.label: [a, b]")
    return rows.present(column, "data.label", "a label")


def hard_names(
    rows: Rows, column: str, everywhere: set[str], here: set[str], task: str, *, told: bool
) -> tuple[Kind, list[str]]:
    """Return the classes of training rows.

    Args:
        rows: The training rows.
        column: Their label column.
        everywhere: The labels of the whole source, as they are spelt.
        here: Those of the rows.
        task: binary or multiclass.
        told: Whether the labels were taken for classes because of what they look like.

    Returns:
        What they are (number, boolean or words), and their names, sorted.

    Raises:
        DataError: There are too few, or more than two for binary.
    """
    kind = word_kind(everywhere)
    called = class_names(everywhere, kind)
    words = {one_word(cell, kind) for cell in here}
    names = [name for word, name in called.items() if word in words]
    if len(names) < 2 or (task == "binary" and len(names) != 2):
        some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        wanted = "two" if task == "binary" else "at least two"
        lost = [name for name in called.values() if name not in names]
        split = ""
        if lost and len(names) < 2:
            split = (
                f"; the only rows of {lost[0]!r} went to the validation rows: data.stratify: true or another "
                "split keeps some in training"
            )
        raise DataError(
            f"{rows.source}: column {column!r}: expected {wanted} different labels for {task}, "
            f"got {len(names)}: {some}{split}"
        )
    warn_of_classes(rows.origin, column, list(called.values()), told=told and kind == "words")
    return kind, names


def numbers(rows: Rows, column: str, target: str) -> FloatArray:
    """Return the values of a regression target, float64 [N].

    Raises:
        DataError: A cell is no finite number, or has no logarithm where `target` asks for it.
    """
    found = np.zeros(len(rows))
    for index, cell in enumerate(present(rows, column)):
        number = as_number(cell)
        if number is None or not np.isfinite(number):
            comma = "; write numbers without commas" if re.fullmatch(r"-?[0-9]+,[0-9]+", cell.strip()) else ""
            raise rows.error(index, column, f"expected a finite number as regression target, got {shown(cell)}{comma}")
        if target == "log1p" and number <= -1:
            raise rows.error(index, column, f"expected a target above -1 for data.target: log1p, got {number:g}")
        found[index] = number
    return found


def flags(rows: Rows, columns: Sequence[str], likely: LabelArray | None) -> LabelArray:
    """Return the 0 and 1 of label columns, float32 [N, K].

    Args:
        rows: The rows.
        columns: Their K label columns.
        likely: What stands for an empty cell, [N, K]; None refuses one.

    Raises:
        DataError: A cell is empty or something else.
    """
    found = np.zeros((len(rows), len(columns)), dtype=np.float32)
    for position, column in enumerate(columns):
        cells: Collection[str | None] = present(rows, column) if likely is None else rows.cells(column)
        for index, cell in enumerate(cells):
            if cell is None and likely is not None:
                found[index, position] = likely[index, position]
                continue
            word = one_word(cell or "", "boolean")
            if word not in ("True", "False"):
                raise rows.error(index, column, f"expected 0 or 1, as in every label column, got {word!r}")
            found[index, position] = word == "True"
    return found


def spread(values: FloatArray, weights: FloatArray | None) -> tuple[float, float]:
    """Return mean and standard deviation, by weight."""
    if weights is None:
        return float(values.mean()), float(values.std())
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
