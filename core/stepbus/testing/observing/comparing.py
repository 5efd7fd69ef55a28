"""Comparing what two runs came to: as plain values, with the first difference in words."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from stepbus.kernel import Fit, FitResult
from stepbus.run.plans import Plan


def comparable(value: Any) -> Any:
    """Return a value as plain ones that compare by content; of objects without content, the type's name."""
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if is_array(value):
        array = np.asarray(value)
        return [str(array.dtype), list(array.shape), comparable(array.tolist())]
    if isinstance(value, Mapping):
        return {str(key): comparable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((comparable(item) for item in value), key=repr)
    if isinstance(value, list | tuple | deque):
        return [comparable(item) for item in value]
    if attrs.has(type(value)) and not isinstance(value, Fit | FitResult | Plan):
        return {field.name: comparable(getattr(value, field.name)) for field in attrs.fields(type(value))}
    # Each run has a folder of its own.
    return value.name if isinstance(value, Path) else type(value).__name__


def is_array(value: Any) -> bool:
    """Whether a value is an array or a scalar of NumPy or MLX; a setting may be called shape, or tolist."""
    kind = type(value)
    return isinstance(value, np.ndarray | np.generic) or (kind.__module__, kind.__name__) == ("mlx.core", "array")


def without(keys: Iterable[str], value: Any) -> Any:
    """Return plain values without some keys, at any depth."""
    dropped = set(keys)
    if isinstance(value, dict):
        return {key: without(dropped, item) for key, item in value.items() if key not in dropped}
    return [without(dropped, item) for item in value] if isinstance(value, list) else value


def difference(expected: Any, got: Any, place: str = "") -> str:
    """Return the first difference of two plain values in words, or nothing.

    Args:
        expected: What it should be.
        got: What it is.
        place: Where both stand.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            inner = f"{place}.{key}".strip(".")
            if key not in expected or key not in got:
                return f"{inner} is {'missing' if key in expected else 'new'}"
            if found := difference(expected[key], got[key], inner):
                return found
        return ""
    if isinstance(expected, list) and isinstance(got, list):
        for index, (one, other) in enumerate(zip(expected, got, strict=False)):
            if found := difference(one, other, f"{place}[{index}]"):
                return found
        return _lengths(expected, got, place)
    if type(expected) is type(got) and expected == got:
        return ""
    return f"{place or 'it'} is {_short(got)} in place of {_short(expected)}"


def _lengths(expected: Sequence[Any], got: Sequence[Any], place: str) -> str:
    if len(expected) == len(got):
        return ""
    longer, word = (got, "more") if len(got) > len(expected) else (expected, "missing")
    first = longer[min(len(expected), len(got))]
    return f"{place or 'the list'} has {len(got)} in place of {len(expected)}; {word} is {_short(first)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def class_values(cls: type) -> dict[str, Any]:
    """Return what a class and its bases hold, as plain values."""
    kept = (bool, int, float, str, list, dict, set, tuple, deque, np.ndarray)
    return {
        f"{each.__name__}.{name}": comparable(value)
        for each in cls.__mro__[:-1]
        for name, value in vars(each).items()
        if not name.startswith("__") and (value is None or isinstance(value, kept))
    }
