"""What a model makes of a batch: row losses, predictions and logits."""

from __future__ import annotations

from typing import Any, Protocol

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import ModelError

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
        return _row_losses(model.head, model(batch).astype(mx.float32), batch)

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B], predictions [B, K] and logits [B, K]."""
        logits = model(batch).astype(mx.float32)
        losses = _row_losses(model.head, logits, batch) if "labels" in batch else mx.zeros_like(batch["weights"])
        predictions = _asked(model.head, "predictions", logits)
        if _shape(predictions)[:1] != logits.shape[:1] or len(_shape(predictions)) != 2:
            raise _other(model.head, "predictions", f"[{logits.shape[0]}, K]", predictions)
        return losses, predictions, logits


def _row_losses(head: Any, logits: mx.array, batch: Arrays) -> mx.array:
    labels = batch["labels"]
    try:
        losses: mx.array = _asked(head, "loss", logits, labels)
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        if labels.ndim != 2:
            raise
        words = f"its loss raised {type(error).__name__}: {error}, on labels {list(labels.shape)}"
        mend = "soft labels are probabilities [B, K]: let its loss take them, or leave data.soft_labels out"
        raise ModelError(f"the head {type(head).__name__}: {words}; {mend}") from error
    if _shape(losses) != batch["weights"].shape:
        raise _other(head, "loss", f"one for each row, {list(batch['weights'].shape)}", losses)
    return losses


def _asked(head: Any, method: str, *arguments: mx.array) -> Any:
    function = getattr(head, method, None)
    if function is None:
        raise ModelError(f"the head {type(head).__name__}: expected methods loss and predictions, got no {method}")
    return function(*arguments)


def _shape(value: Any) -> tuple[int, ...]:
    return value.shape if isinstance(value, mx.array) else (-1,)


def _other(head: Any, method: str, expected: str, got: Any) -> ModelError:
    words = f"an array {list(got.shape)}" if isinstance(got, mx.array) else f"a {type(got).__name__}"
    return ModelError(f"the head {type(head).__name__}: {method}: expected {expected}, got {words}")
