"""When two labels are one class, what task labels suggest, and which classes look alike.

Class labels have a kind, told by all labels of the training source once and kept with the model:

    boolean    all are yes or no: True, true, TRUE, 1, 1.0 are one class, False, false, FALSE, 0, 0.0 the other; a class
               is called as the source writes it, or where it writes it in several ways 1 and 0, or True and False
    number     all are whole numbers (5, 5.0, -0, with blanks around or without) or decimals without zeros at the end
               (0.5, 1e-05): those of one value are one class, called by the shortest spelling
    words      all others, codes such as 007, 3.10 beside 3.9 and +5 among them: each spelling is a class, as it is
               written, blanks included; only time stamps have one spelling, that of `stepbus.text.rows.cells`. NA and
               its like are words among words, and refused where all other labels are numbers or yes and no

A task is suggested by the labels only where nobody said it. Whole numbers with at most 20 different values are classes,
with more they are a regression. Decimals are a regression, unless they are codes: different numbers of places with
zeros at the end, or zeros at the end and at most 20 different values. All else are classes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from stepbus.config import Task
from stepbus.text.rows import FALSE, NO, TRUE, WHOLE, YES, Kind, are_codes, ends_in_zero, is_number, one_time

# A numeric column with more different values than this is a quantity, with fewer a set of classes.
FEW = 20
# As short as Python writes a float: no zero at the end, an exponent of two digits with its sign.
SHORT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]*[1-9]|-?[1-9](\.[0-9]*[1-9])?e[+-][0-9]{2,3}")


def word_kind(cells: Iterable[str]) -> Kind:
    """Return the kind of class labels, by their spellings."""
    words = {cell.strip() for cell in cells}
    if words <= YES | NO:
        return "boolean"
    return "number" if all(WHOLE.fullmatch(word) or SHORT.fullmatch(word) for word in words) else "words"


def one_word(cell: str, kind: Kind) -> str:
    """Return one spelling for all labels that are one class.

    Args:
        cell: The label as it is spelt.
        kind: The kind of the labels.
    """
    if kind == "words":
        return one_time(cell)
    word = cell.strip()
    if kind == "boolean" and word in YES | NO:
        return "True" if word in YES else "False"
    if WHOLE.fullmatch(word):
        return str(int(word.partition(".")[0]))
    return repr(float(word)) if SHORT.fullmatch(word) else word


def class_names(cells: Iterable[str], kind: Kind) -> dict[str, str]:
    """Return what each class is called, by its one spelling, sorted: numbers by value, words by letter."""
    spelt: dict[str, set[str]] = {}
    for cell in set(cells):
        spelt.setdefault(one_word(cell, kind), set()).add(cell.strip() if kind == "boolean" else cell)
    if kind != "boolean":
        by_value = kind == "number"
        return {word: word for word in sorted(spelt, key=lambda word: (float(word) if by_value else 0.0, word))}
    digits = {word: str(int(word == "True")) for word in spelt}
    if all(words <= {digits[word], f"{digits[word]}.0"} for word, words in spelt.items()):
        names = digits
    elif all(len(words) == 1 and words <= TRUE | FALSE for words in spelt.values()):
        names = {word: next(iter(words)) for word, words in spelt.items()}  # as the source writes them
    else:
        names = {word: word for word in spelt}
    return {word: names[word] for word in sorted(names)}


def told_by(cells: Iterable[str]) -> tuple[Task, str]:
    """Return the task that labels suggest, and by what it was told, in words.

    Args:
        cells: The labels as they are spelt, without gaps.
    """
    words = {cell.strip() for cell in cells}
    kind = word_kind(words)
    different = len({one_word(word, kind) for word in (words if kind != "words" else set(cells))})
    numbers, quantity = all(map(is_number, words)), False
    what = "codes" if numbers else "boolean values" if words <= TRUE | FALSE else "words"
    if numbers and not are_codes(words):
        whole = all(map(WHOLE.fullmatch, words))
        quantity = different > FEW or not (whole or any(map(ends_in_zero, words)))
        what = "whole numbers" if whole else "decimals" if quantity else "decimals with zeros at their end"
    task: Task = "regression" if quantity else "binary" if different <= 2 else "multiclass"
    return task, f"{what} with {different} different value{'s' * (different != 1)}"


def look_alike(names: Collection[str]) -> list[list[str]]:
    """Return the classes that a reader may take for one: other letter case, composition, blanks, or number format."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_looks(name), []).append(name)
    return [twins for twins in alike.values() if len(twins) > 1]


def spelt_otherwise(cell: str, names: Collection[str]) -> str:
    """Return which known class a label looks like, for a message; nothing where there is none."""
    twins = [name for name in names if _looks(name) == _looks(cell)]
    return f", which looks like it and is another: {cell!a} is not {twins[0]!a}" if twins else ""


def _looks(name: str) -> str:
    """Return what a reader sees: letters composed, in one case; blanks as one; nothing of what has no width."""
    text = unicodedata.normalize("NFKC", name)
    text = "".join(" " if char.isspace() else char for char in text)
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc") and not _selects(char))
    text = " ".join(text.split()).casefold()
    number = re.fullmatch(r"(?:\+|(-)?)0*([0-9]+)(\.0*)?", text)
    if number is None:
        return text
    sign = number[1] if number[1] and number[2] != "0" else ""
    return sign + number[2]


def _selects(char: str) -> bool:
    """Say whether a character only selects how the one before it is drawn."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
