"""The loss scale of float16, whose small gradients would be 0 without it.

Source: Micikevicius et al. 2018, "Mixed Precision Training"; the numbers are those of PyTorch's GradScaler.
"""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

BEGINS_AT = 65536.0
GROWS_AFTER = 2000  # updates in a row that were finite
LEAST_SCALE = 1.0


class LossScale:
    """What a loss is multiplied by before its gradient is taken; it lives in the optimizer's state.

    Args:
        state: The optimizer's state, which gets `loss_scale` and `good_steps`.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        state["loss_scale"] = mx.array(BEGINS_AT, dtype=mx.float32)
        state["good_steps"] = mx.array(0, dtype=mx.int32)

    @property
    def value(self) -> mx.array:
        """The scale of the present update, 0-d float32."""
        scale: mx.array = self.state["loss_scale"]
        return scale

    def follow(self, done: mx.array, overflowed: mx.array) -> None:
        """Put the scale of the next update in place: half after an overflow, double after many updates without one.

        What is not done for another reason says nothing of the scale, which multiplies the loss and changes nothing
        before it.

        Args:
            done: Whether the present update was done, 0-d.
            overflowed: Whether its gradient was not finite, though its loss was, 0-d.
        """
        good = self.state["good_steps"] + 1
        grown = mx.where(good >= GROWS_AFTER, self.value * 2, self.value)
        steps = mx.where(done, mx.where(good < GROWS_AFTER, good, 0), self.state["good_steps"])
        self.state["good_steps"] = mx.where(overflowed, 0, steps).astype(mx.int32)
        kept = mx.where(done, grown, self.value)
        self.state["loss_scale"] = mx.where(overflowed, mx.maximum(self.value / 2, LEAST_SCALE), kept)
