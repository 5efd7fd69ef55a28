"""The loss scale: when it is halved, doubled, and left alone."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from stepbus.compute.scaling import GROWS_AFTER, LossScale


@pytest.mark.parametrize(
    ("done", "overflowed", "scale", "good"),
    [
        (True, False, 65536.0, 8),
        (False, True, 32768.0, 0),
        (False, False, 65536.0, 7),  # a loss that is not finite, or an optimizer that makes it so: no matter of scale
    ],
)
def test_only_an_overflow_halves_it(done: bool, overflowed: bool, scale: float, good: int) -> None:
    state: dict[str, Any] = {}
    made = LossScale(state)
    state["good_steps"] = mx.array(7, dtype=mx.int32)
    made.follow(mx.array(done), mx.array(overflowed))
    assert (made.value.item(), state["good_steps"].item()) == (scale, good)


def test_it_ends_at_1_and_doubles_after_many_updates() -> None:
    state: dict[str, Any] = {}
    made = LossScale(state)
    for _ in range(20):
        made.follow(mx.array(False), mx.array(True))
    assert made.value.item() == 1.0
    state["good_steps"] = mx.array(GROWS_AFTER - 2, dtype=mx.int32)
    for scale, good in ((1.0, GROWS_AFTER - 1), (2.0, 0), (2.0, 1)):
        made.follow(mx.array(True), mx.array(False))
        assert (made.value.item(), state["good_steps"].item()) == (scale, good)
