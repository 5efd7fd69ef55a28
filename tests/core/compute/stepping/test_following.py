"""Arrays that follow the weights: what their functions write into, and what they give that is none."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from stepbus import PluginFailure
from stepbus.base.guards import Maker
from stepbus.compute.stepping.following import Follower, Followers

BEGIN = {"sum": {"w": mx.array([1.0, 1.0])}, "n": mx.array(0.0)}


def followers(function: Any, weights: Any = None, always: bool = False) -> Followers:
    return Followers([Follower("mine", Maker("mine: after_update"), BEGIN, function, weights, always)], {})


def in_place(parameters: Any, arrays: Any) -> Any:
    arrays["sum"]["w"] += parameters["w"]
    arrays["n"] += 1
    parameters["w"] *= 0
    return arrays


@pytest.mark.parametrize(("finite", "expected"), [(True, ([4.0, 6.0], 1.0)), (False, ([1.0, 1.0], 0.0))])
def test_a_function_that_writes_in_place_is_kept_where_an_update_is_skipped(finite: bool, expected: Any) -> None:
    """What it wrote was the value before as well, so that a skipped update moved the arrays."""
    made, parameters = followers(in_place), {"w": mx.array([3.0, 5.0])}
    made.follow(parameters, mx.array(finite))
    found = made.state["plugins"]["mine"]
    assert (found["sum"]["w"].tolist(), found["n"].item()) == expected
    assert parameters["w"].tolist() == [3.0, 5.0]
    assert (BEGIN["sum"]["w"].tolist(), BEGIN["n"].item()) == ([1.0, 1.0], 0.0)  # type: ignore[index, attr-defined]


@pytest.mark.parametrize("finite", [True, False])
def test_one_that_follows_skipped_updates_moves_with_the_parameters_as_they_stand(finite: bool) -> None:
    made = followers(in_place, always=True)
    made.follow({"w": mx.array([3.0, 5.0])}, mx.array(finite))
    found = made.state["plugins"]["mine"]
    assert (found["sum"]["w"].tolist(), found["n"].item()) == ([4.0, 6.0], 1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "expected the new arrays as a dictionary, got None$"),
        (mx.ones(2), r"expected the new arrays as a dictionary, got float32 \[2\]$"),
        ({**BEGIN, "sum": None}, "expected the new arrays as a dictionary, got None as 'sum'$"),
        ({**BEGIN, "n": 1.0}, r"expected 'n' as float32 \[\], got 1.0$"),
        ({**BEGIN, "n": mx.array(1)}, r"expected 'n' as float32 \[\], got int32 \[\]$"),
        ({"n": mx.array(1.0)}, "expected the same arrays as before, got none of 'sum', which was there before$"),
    ],
)
def test_what_are_no_arrays_like_those_before_is_named(given: Any, words: str) -> None:
    with pytest.raises(PluginFailure, match=f"^mine: after_update: {words}"):
        followers(lambda parameters, arrays: given).follow({"w": mx.ones(2)}, mx.array(True))
