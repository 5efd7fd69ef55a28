"""Plain arguments: what is true or false, and whole numbers, which may come from NumPy."""

from __future__ import annotations

import operator
from typing import Any

from stepbus.base import BadInput, show_python
from stepbus.text.rows import a_thing


def flag(value: Any, name: str) -> bool:
    """Return an argument that is true or false; a text such as "no" would count as true, and rows as nothing.

    Args:
        value: What was given; 0 and 1 do as well.
        name: The argument.

    Raises:
        BadInput: It is something else.
    """
    if type(value).__name__ in ("bool", "bool_") or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    got = show_python(value) if isinstance(value, str | int | float | None) else a_thing(value)
    raise BadInput(f"{name}: expected True or False, got {got}")


def whole_number(value: Any, name: str, least: int, what: str = "a whole number") -> int:
    """Return an argument that is a whole number.

    Args:
        value: What was given.
        name: The argument.
        least: The smallest that will do.
        what: What the number is of.

    Raises:
        BadInput: It is something else.
    """
    try:
        found = None if type(value).__name__ in ("bool", "bool_") else operator.index(value)
    except TypeError:
        found = None
    if found is None or found < least:
        raise BadInput(f"{name}: expected {what} of at least {least}, got {show_python(value)}")
    return found
