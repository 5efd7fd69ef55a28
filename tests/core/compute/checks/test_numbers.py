"""Whether all numbers that were finite are so after an update."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import mlx.core as mx
import pytest

from stepbus.compute.checks import still_numbers

NAN, INF = float("nan"), float("inf")


def still(before: Any, new: Any, state: Any = None, after: Any = None) -> bool:
    old = {name: mx.array(value) for name, value in (state or {}).items()}
    later = {name: mx.array(value) for name, value in (after or {}).items()}
    found = still_numbers({"w": (mx.array(before), mx.array(new), later)}, {"w": old}, lambda name: nullcontext())
    return bool(found.item())


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_number_that_is_lost_is_seen_in_a_weight_and_in_what_is_kept_of_it(value: float) -> None:
    assert still([1.0, 2.0], [3.0, 4.0])
    assert not still([1.0, 2.0], [3.0, value])
    assert still([1.0, 2.0], [3.0, 4.0], {"m": [0.0, 0.0]}, {"m": [1.0, 1e30]})
    assert not still([1.0, 2.0], [3.0, 4.0], {"m": [0.0, 0.0]}, {"m": [1.0, value]})
    assert not still([1.0, 2.0], [3.0, 4.0], {"row": [0.0, 0.0, 0.0]}, {"row": [1.0, value, 0.0]})
    assert not still([1.0, 2.0], [3.0, 4.0], {"scalar": 0.0}, {"scalar": value})


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_was_none_before_may_stay_or_become_one(value: float) -> None:
    assert still([value, 2.0], [value, 4.0])
    assert still([value, 2.0], [1.0, 4.0], {"least": [value, value]}, {"least": [value, 1.0]})


def test_a_count_is_no_matter_and_great_numbers_are_none_that_are_lost() -> None:
    assert still([1.0], [3e38], {"count": 3, "m": [1.0]}, {"count": 4, "m": [-3e38]})
