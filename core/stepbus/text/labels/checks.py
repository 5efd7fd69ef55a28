"""What is odd about class labels: gaps among numbers are refused; twins, and rows of a class of their own, are said."""

from __future__ import annotations

from collections.abc import Sequence

from stepbus.text.labels.words import FEW, look_alike
from stepbus.text.rows import GAPS, NO, YES, Rows, is_number, odd_ones


def refuse_gaps(rows: Rows, column: str, cells: Sequence[str]) -> None:
    """Refuse NA and its like where all other labels are numbers or yes and no; among words it is a word.

    Args:
        rows: All rows of the training source.
        column: The label's column.
        cells: Its cells.

    Raises:
        DataError: There is such a label.
    """
    words = {cell.strip() for cell in cells}
    known = words - GAPS
    if known and words != known and (known <= YES | NO or all(map(is_number, known))):
        index = next(index for index, cell in enumerate(cells) if cell.strip() in GAPS)
        raise rows.error(index, column, f"expected a label, got {cells[index]!r} among numbers")


def warn_of_classes(rows: Rows, column: str, names: Sequence[str], *, told: bool) -> None:
    """Warn of classes that may not be meant.

    Args:
        rows: All rows of the training source.
        column: The label's column.
        names: The classes.
        told: Whether the labels were taken for words because of what they look like.
    """
    for twins in look_alike(names):
        rows.say(
            f"column {column!r}: classes that look alike are learnt as different ones: "
            f"{' and '.join(map(ascii, twins))}; give them one spelling if they are one"
        )
    cells = rows.cells(column)
    if told and len(names) > FEW and (odd := odd_ones(cells)):
        rows.say(
            f"column {column!r}: labels are read as words, not numbers, because of {cells[odd[0]]!r} "
            f"({rows.where(odd[0])}); mend it, or set data.task"
        )
    if len(names) > 10 and 2 * len(names) > len(rows):
        rows.say(
            f"column {column!r}: {len(rows)} rows have {len(names)} different classes, such as {names[0]!r}; "
            "is it the column to predict? for numbers set data.task: regression"
        )
    if all(name.startswith("[") and name.endswith("]") for name in names):
        rows.say(
            f"column {column!r}: {names[0]!r} is learnt as one class; for several labels a row write a 0/1 column for "
            "each, and label: [a, b]"
        )
