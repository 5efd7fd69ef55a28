"""Numbers of a weight file that no model can be trained from."""

from __future__ import annotations

import mlx.core as mx
import pytest

from stepbus import ModelError
from stepbus.compute.models.loading import check_finite


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, float("nan"), 0.0, float("nan")], "got 2 NaN of 4"),
        ([float("inf"), float("nan")], "got 1 NaN and 1 infinite of 2"),
        ([float("inf")], "got 1 infinite of 1"),
    ],
)
def test_they_are_refused_by_tensor_and_file(values: list[float], words: str, dtype: mx.Dtype) -> None:
    with pytest.raises(ModelError, match=f"^file: tensor 'a': expected finite numbers, {words}; the file is damaged"):
        check_finite("a", mx.array(values).astype(dtype), "file")


@pytest.mark.parametrize("values", [[], [1.0, -65504.0], [float("-inf"), 0.0]])
def test_finite_ones_and_masks_are_taken(values: list[float]) -> None:
    check_finite("a", mx.array(values), "file")
