"""What is looked at after the fact."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stepbus.compute.watching.again import first_spoiled

FORMATS = [mx.float32, mx.float16, mx.bfloat16]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (2, 3, 4), (3, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_one_number_that_is_not_finite_is_found_wherever_it_is(
    dtype: mx.Dtype, shape: tuple[int, ...], value: float
) -> None:
    size = int(np.prod(shape))
    for place in range(size):
        numbers = np.linspace(-1, 1, size, dtype=np.float32)
        sound, numbers[place] = numbers.copy(), value
        weights = {
            "a": mx.array(sound.reshape(shape)).astype(dtype),
            "b": mx.array(numbers.reshape(shape)).astype(dtype),
        }
        found = first_spoiled(nn.Module(), weights, "update")
        assert found is not None
        assert (found.name, found.nan, found.infinite) == ("b", int(np.isnan(value)), int(np.isinf(value)))
        weights["b"] = weights["a"]
        assert first_spoiled(nn.Module(), weights, "update") is None


def test_what_is_no_row_after_the_other_in_memory_is_looked_at_as_well() -> None:
    numbers = mx.zeros((4, 6))
    numbers[1, 4] = mx.nan
    for spoiled in (numbers.T, numbers[:, 3:], numbers[1], mx.broadcast_to(numbers, (2, 4, 6))):
        assert first_spoiled(nn.Module(), {"w": spoiled}, "update") is not None
    for sound in (numbers[:, :3], numbers[2:].T):
        assert first_spoiled(nn.Module(), {"w": sound}, "update") is None


def test_large_numbers_whose_sum_is_infinite_are_finite_and_so_is_nothing() -> None:
    large = mx.full((8, 8), 3e38)
    assert first_spoiled(nn.Module(), {"w": large, "v": large.astype(mx.bfloat16)}, "update") is None
    assert first_spoiled(nn.Module(), {}, "update") is None
    assert first_spoiled(nn.Module(), {"w": mx.zeros((0, 3)), "ids": mx.arange(4)}, "update") is None


def test_infinities_of_both_signs_do_not_cancel() -> None:
    found = first_spoiled(nn.Module(), {"w": mx.array([[mx.inf, 0.0], [-mx.inf, 0.0]])}, "update")
    assert found is not None and found.infinite == 2
