"""Numbers of settings that no float32 holds: in what computes, one would turn into infinity or 0 without a word."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from stepbus.base import show

# The smallest number with all its digits, and the largest one; GPUs take what is smaller for 0.
SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


def beyond_float32(value: Any, hint: Any, default: Any) -> str:
    """Return what is wrong with the numbers of a setting, or "".

    Args:
        value: The setting, typed.
        hint: Its type; only where that speaks of floats are they looked at.
        default: Its default, which its author answers for.
    """
    if not _speaks_of_floats(hint) or value == default:
        return ""
    for number in _floats(value):
        if number and not SMALLEST <= abs(number) <= LARGEST:
            size = f"0, or {SMALLEST:.2g} to {LARGEST:.2g} in size"
            return f"expected a number that float32 holds ({size}), got {show(number)}"
    return ""


@cache
def _speaks_of_floats(hint: Any) -> bool:
    return hint is float or any(map(_speaks_of_floats, typing.get_args(hint)))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _floats(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _floats(each)
