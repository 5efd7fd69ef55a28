"""What a model makes of a batch: row losses, predictions and logits."""

from __future__ import annotations

from typing import Any, Protocol

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

Arrays = dict[str, mx.array]


class Forward(Protocol):
    """How a model is called, and what its answer means; these run once a trace and hold no state."""

    def losses(self, model: Any, batch: Arrays) -> mx.array:
        """Return the loss of each row, float32 [B], by the batch's labels."""

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B] (0 without labels), predictions [B, K] and logits [B, K]."""


class HeadForward:
    """A `Classifier`: its head has the loss and says what logits mean."""

    def losses(self, model: Any, batch: Arrays) -> mx.array:
        """Return the loss of each row, [B]."""
        logits = model(batch).astype(mx.float32)
        losses: mx.array = model.head.loss(logits, batch["labels"])
        return losses

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B], predictions [B, K] and logits [B, K]."""
        logits = model(batch).astype(mx.float32)
        losses = model.head.loss(logits, batch["labels"]) if "labels" in batch else mx.zeros_like(batch["weights"])
        return losses, model.head.predictions(logits), logits
