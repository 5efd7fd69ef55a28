"""Rows and epochs as the methods of a trainer are given them, by our names and by the original's."""

from __future__ import annotations

from numbers import Number
from typing import Any

from stepbus.base import BadInput, show_python
from stepbus.text.rows import a_thing


def by_either_name(value: Any, name: str, other: Any, other_name: str) -> Any:
    """Return an argument that may be given by two names, None where it was given by none.

    Raises:
        BadInput: It was given by both.
    """
    if value is not None and other is not None:
        raise BadInput(f"{other_name}: it is another name of {name}; give one of them")
    return other if value is None else value


def rows_of(data: Any, dataloader: Any) -> Any:
    """Return what `evaluate` and `predict` were given.

    Raises:
        BadInput: It was given twice, or not at all.
    """
    found = by_either_name(data, "data", dataloader, "dataloader")
    if found is None:
        raise BadInput("data: expected rows, got none; give a file, a frame, or what the model was trained on")
    if isinstance(found, str) and not found.strip():
        raise BadInput('data: expected a file or rows, got an empty text; texts to predict stand in a list: ["…", …]')
    return found


def prefix_of(given: Any) -> str:
    """Return what stands before the names of metrics, without the underscore that comes between.

    Raises:
        BadInput: It is no text, such as rows in its place.
    """
    if given is not None and not isinstance(given, str):
        got = show_python(given) if isinstance(given, Number) else a_thing(given)
        raise BadInput(f'prefix: expected a text such as "test", got {got}')
    return (given or "").removesuffix("_")


def check_epochs(num_epochs: Any) -> None:
    """Refuse rows in the place of the epochs.

    Raises:
        BadInput: It is no number.
    """
    if num_epochs is not None and not isinstance(num_epochs, Number) and not hasattr(num_epochs, "__index__"):
        got = show_python(num_epochs) if isinstance(num_epochs, str) else a_thing(num_epochs)
        raise BadInput(f"num_epochs: expected a whole number, got {got}; rows to predict are given as test=…")
