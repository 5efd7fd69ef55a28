"""Soft labels: how probable each class is, in place of one class a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from stepbus.base import DataError, did_you_mean
from stepbus.config import Task
from stepbus.text.labels.words import class_names, one_word, word_kind
from stepbus.text.rows import ROUNDING, Kind, Rows

Array = np.ndarray[Any, np.dtype[np.float64]]

# What predictions are called where only probabilities name classes, and no column holds the label.
UNNAMED = "label"


def soft_names(rows: Rows, written: Collection[str], task: Task) -> tuple[Kind, list[str]]:
    """Return the classes that exclude each other: those of soft labels, which the labels beside them may not exceed.

    Args:
        rows: Rows with soft labels.
        written: The labels beside them, as they are spelt.
        task: binary, which has two, or multiclass.

    Returns:
        What class labels are (number, boolean or words), and the names, sorted as those of labels are.

    Raises:
        DataError: They do not fit each other, or are too few.
    """
    everywhere = {*written, *rows.classes}
    kind = word_kind(everywhere)
    called = class_names(everywhere, kind)
    soft = [one_word(name, kind) for name in rows.classes]
    if twice := [name for name, word in zip(rows.classes, soft, strict=True) if soft.count(word) > 1]:
        raise DataError(f"{rows.source}: soft labels: expected different classes, got {twice[0]!r} and {twice[1]!r}")
    if len(soft) == 1:
        if len(called) != 2:
            why = f"and data.label has {_listed(list(called.values()))}" if written else "and nothing names another"
            raise DataError(
                f"{rows.source}: soft labels: expected the other class beside {rows.classes[0]!r}, which has the rest, "
                f"{why}; write data.soft_labels: {{{rows.classes[0]}: COLUMN, OTHER: null}}, or name a label column of "
                "two classes"
            )
    elif unknown := [name for word, name in called.items() if word not in soft]:
        raise DataError(
            f"{rows.source}: soft labels: expected a probability of each class of data.label, got none of "
            f"{unknown[0]!r}{did_you_mean(unknown[0], rows.classes)}; name its column in data.soft_labels"
        )
    if len(called) < 2 or (task == "binary" and len(called) != 2):
        wanted = "two" if task == "binary" else "at least two"
        raise DataError(f"{rows.source}: soft labels: expected {wanted} classes for {task}, got {len(called)}")
    return kind, list(called.values())


def aligned(rows: Rows, names: Sequence[str], kind: Kind, *, exclusive: bool) -> Array:
    """Return the soft labels of rows in the order of the classes, float64 [N, K].

    Args:
        rows: N rows with soft labels.
        names: The K classes.
        kind: What class labels are.
        exclusive: Whether the classes exclude each other, so that the probabilities of a row sum to 1; they do then, to
            the last bit that there is.

    Raises:
        DataError: They are of other classes, or do not sum to 1.
    """
    assert rows.soft is not None
    words = [one_word(name, kind) if exclusive else name for name in rows.classes]
    wanted = [one_word(name, kind) if exclusive else name for name in names]
    if exclusive and len(words) == 1 and len(wanted) == 2 and words[0] in wanted:
        own = wanted.index(words[0])
        return np.concatenate([rows.soft, 1 - rows.soft] if own == 0 else [1 - rows.soft, rows.soft], axis=1)
    if sorted(words) != sorted(wanted):
        raise DataError(
            f"{rows.source}: soft labels: expected the classes {_listed(names)}, got {_listed(rows.classes)}"
        )
    found: Array = rows.soft[:, [words.index(word) for word in wanted]]
    if exclusive:
        sums = found.sum(axis=1)
        if (odd := np.flatnonzero(np.abs(sums - 1) > ROUNDING)).size:
            index = int(odd[0])
            said = ", ".join(f"{name} {value:g}" for name, value in zip(names[:5], found[index, :5], strict=True))
            raise DataError(
                f"{rows.where(index)}: soft labels: expected probabilities that sum to 1, got {sums[index]:g} "
                f"({said}{', …' if len(names) > 5 else ''}); write more digits, or divide them by their sum"
            )
        found = found / sums[:, None]
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
