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
LEAST = 1.0


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

    def follow(self, finite: mx.array) -> None:
        """Put the scale of the next update in place: half after an overflow, double after many updates without one.

        Args:
            finite: Whether everything of the present update was a finite number, 0-d.
        """
        good = self.state["good_steps"] + 1
        grown = mx.where(good >= GROWS_AFTER, self.value * 2, self.value)
        self.state["good_steps"] = mx.where(finite & (good < GROWS_AFTER), good, 0).astype(mx.int32)
        self.state["loss_scale"] = mx.where(finite, grown, mx.maximum(self.value / 2, LEAST))
