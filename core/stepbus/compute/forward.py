"""What a model makes of a batch: row losses, predictions and logits."""

from __future__ import annotations

from typing import Any, Protocol

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import ModelError
from stepbus.compute.checks import called, maker_of, shape_of, shown

Arrays = dict[str, mx.array]


class Forward(Protocol):
    """How a model is called, and what its answer means; these run once a trace and hold no state."""

    def losses(self, model: Any, batch: Arrays) -> mx.array:
        """Return the loss of each row, float32 [B], by the batch's labels."""

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B] (0 without labels), predictions [B, K] and logits [B, K]."""


class HeadForward:
    """A `Classifier`: its head has the loss and says what logits mean.

    Raises:
        ModelError: The head gives something else; what broadcasts would be a wrong loss without a word.
    """

    def losses(self, model: Any, batch: Arrays) -> mx.array:
        """Return the loss of each row, [B]."""
        return _row_losses(model, model(batch).astype(mx.float32), batch)

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B], predictions [B, K] and logits [B, K]."""
        logits = model(batch).astype(mx.float32)
        losses = _row_losses(model, logits, batch) if "labels" in batch else mx.zeros_like(batch["weights"])
        predictions = called(model, "head", logits, method="predictions")
        if shape_of(predictions)[:1] != logits.shape[:1] or len(shape_of(predictions)) != 2:
            expected = f"predictions: expected [{logits.shape[0]}, K]"
            raise maker_of(model, "head").fault(f"{expected}, got {shown(predictions)}", ModelError)
        return losses, predictions, logits


def _row_losses(model: Any, logits: mx.array, batch: Arrays) -> mx.array:
    labels = batch["labels"]
    mend = "soft labels are probabilities [B, K]: let its loss take them, or leave data.soft_labels out"
    soft = labels.ndim == 2 and model.task in ("binary", "multiclass")
    losses: mx.array = called(model, "head", logits, labels, method="loss", mend=mend if soft else "")
    if shape_of(losses) != batch["weights"].shape:
        expected = f"loss: expected one for each row, {list(batch['weights'].shape)}"
        raise maker_of(model, "head").fault(f"{expected}, got {shown(losses)}", ModelError)
    return losses
