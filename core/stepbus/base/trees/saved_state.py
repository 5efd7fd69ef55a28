"""Saved state of a fit, believed only where every field is there with its type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from stepbus.base import CheckpointError, show

# What steps, rows and tokens of any fit stay below.
MOST = 2**63
T = TypeVar("T")


def fields_of(saved: Any, key: str, names: Iterable[str]) -> Mapping[str, Any]:
    """Return a mapping that has exactly some fields.

    Args:
        saved: What was read.
        key: Where it stands in the file: "state".
        names: The fields.

    Raises:
        CheckpointError: It is no mapping, a field is missing, or there is another one.
    """
    wanted = list(names)
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"{key}: expected a mapping of {', '.join(wanted)}, got {show(saved)}")
    for name in wanted:
        if name not in saved:
            raise CheckpointError(f"{key}.{name}: expected a value, got nothing")
    for name in saved:
        if name not in wanted:
            raise CheckpointError(f"{key}: expected {', '.join(wanted)}, got {show(name)} too")
    return saved


def built(cls: Callable[..., T], saved: Any, key: str, **read: Callable[[Any, str], Any]) -> T:
    """Return an object of saved fields, each read by the function of its name.

    Args:
        cls: What takes the fields by name.
        saved: What was read.
        key: Where it stands in the file: "state.best".
        **read: Field -> a function of its value and its place.

    Raises:
        CheckpointError: A field is missing or of another type, or there is another one.
    """
    found = fields_of(saved, key, read)
    return cls(**{name: item(found[name], f"{key}.{name}") for name, item in read.items()})


def count(value: Any, key: str) -> int:
    """Return a whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST:
        raise CheckpointError(f"{key}: expected a whole number of at least 0, got {show(value)}")
    return value


def number(value: Any, key: str) -> float:
    """Return a number, which may be NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{key}: expected a number, got {show(value)}")
    return value


def text(value: Any, key: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise CheckpointError(f"{key}: expected a text, got {show(value)}")
    return value


def as_list(value: Any, key: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise CheckpointError(f"{key}: expected a list, got {show(value)}")
    return value


def named(value: Any, key: str, item: Callable[[Any, str], Any]) -> dict[str, Any]:
    """Return a mapping from names to values that `item` has checked."""
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{key}: expected a mapping, got {show(value)}")
    return {name: item(inner, f"{key}.{show(name).strip(chr(39))}") for name, inner in value.items()}
