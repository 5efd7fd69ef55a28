"""Words that many sentences need: counted things and lists, and a class's name as a setting's."""

from __future__ import annotations

import re
from collections.abc import Iterable


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return how many there are of something: "1 epoch", "2,000 rows", "3 classes".

    Args:
        number: How many.
        noun: What one of them is called.
        plural: What several are called, where that is not the noun with an s.

    Example:
        >>> counted(2000, "row"), counted(1, "epoch"), counted(3, "class", "classes")
        ('2,000 rows', '1 epoch', '3 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Return words as a list in a sentence: "a, b and c".

    Args:
        words: The words.
        last: What stands before the last of them.

    Example:
        >>> listed(["adam", "sgd", "lion"], "or")
        'adam, sgd or lion'
    """
    *first, end = list(words) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def snake_case(name: str) -> str:
    """Return a class's name as YAML names a plugin: PrintLoss → print_loss, EMA → ema, HTTPLog → http_log.

    Args:
        name: The name in capitalized words; a run of capitals is one word.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower().strip("_")
