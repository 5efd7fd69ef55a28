"""What a model makes of a batch: row losses, predictions and logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import ModelError
from stepbus.base.guards import Maker
from stepbus.compute.checks import called, maker_of, shape_of, shown
from stepbus.compute.losses import LossFunction

Arrays = dict[str, mx.array]


class Calling(Protocol):
    """A model as a loss calls it; each call draws new dropout."""

    def __call__(self, batch: Arrays) -> mx.array:
        """Return the outputs of a batch; of a classifier logits, float32 [B, K]."""

    def pooled(self, batch: Arrays) -> mx.array:
        """Return what the head of a classifier reads, [B, D], before its dropout."""

    def logits(self, pooled: mx.array) -> mx.array:
        """Return logits, float32 [B, K], of what the head reads, through its dropout."""

    def head(self, pooled: mx.array) -> mx.array:
        """Return logits, float32 [B, K], of what the head reads as it is, for whoever drops features himself."""


# (forward, batch) -> the loss of each row, float32 [B], and named scalars: 0-d ones, or [B].
RowLoss = Callable[[Any, Arrays], tuple[mx.array, Mapping[str, mx.array]]]


class Forward(Protocol):
    """How a model is called, and what its answer means; these run once a trace and hold no state."""

    def calling(self, model: Any) -> Calling:
        """Return the model as a loss calls it in training."""

    def loss_of(self, model: Any) -> RowLoss:
        """Return the loss of a batch by its labels; it is handed `calling(model)`, or what a plugin puts there."""

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B] (0 without labels), predictions [B, K] and logits [B, K]."""


class HeadCall:
    """A `Classifier` as a loss calls it.

    Args:
        model: The classifier.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, batch: Arrays) -> mx.array:
        """Return logits, float32 [B, K]."""
        logits: mx.array = self.model(batch).astype(mx.float32)
        return logits

    def pooled(self, batch: Arrays) -> mx.array:
        """Return what the head reads, [B, D], before its dropout."""
        pooled: mx.array = self.model.pooled(batch)
        return pooled

    def logits(self, pooled: mx.array) -> mx.array:
        """Return logits, float32 [B, K], of what the head reads, through its dropout."""
        logits: mx.array = self.model.logits(pooled).astype(mx.float32)
        return logits

    def head(self, pooled: mx.array) -> mx.array:
        """Return logits, float32 [B, K], of what the head reads as it is."""
        logits: mx.array = called(self.model, "head", pooled).astype(mx.float32)
        return logits


class HeadForward:
    """A `Classifier`: its head says what logits mean, and has the loss where no other one was picked.

    Args:
        loss: The loss that was picked; None takes the head's.
        maker: How messages name it, and whom it comes from.

    Raises:
        ModelError: The head gives something else; what broadcasts would be a wrong loss without a word.
    """

    def __init__(self, loss: LossFunction | None = None, maker: Maker | None = None) -> None:
        self.loss, self.maker = loss, maker or Maker(f"the loss {type(loss).__name__}")

    def calling(self, model: Any) -> HeadCall:
        """Return the classifier as a loss calls it."""
        return HeadCall(model)

    def loss_of(self, model: Any) -> RowLoss:
        """Return the loss of a batch, see `Forward`."""
        return lambda forward, batch: (self._row_losses(model, forward(batch), batch), {})

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B], predictions [B, K] and logits [B, K]."""
        logits = self.calling(model)(batch)
        losses = self._row_losses(model, logits, batch) if "labels" in batch else mx.zeros_like(batch["weights"])
        predictions = called(model, "head", logits, method="predictions")
        if shape_of(predictions)[:1] != logits.shape[:1] or len(shape_of(predictions)) != 2:
            expected = f"predictions: expected [{logits.shape[0]}, K]"
            raise maker_of(model, "head").fault(f"{expected}, got {shown(predictions)}", ModelError)
        return losses, predictions, logits

    def _row_losses(self, model: Any, logits: mx.array, batch: Arrays) -> mx.array:
        labels = batch["labels"]
        if self.loss is not None:
            maker, said = self.maker, ""
            with maker.calling("its call", ModelError):
                losses = self.loss(logits[...], labels[...])  # which it may write into
        else:
            maker, said = maker_of(model, "head"), "loss: "
            mend = "soft labels are probabilities [B, K]: let its loss take them, or leave data.soft_labels out"
            soft = labels.ndim == 2 and model.task in ("binary", "multiclass")
            losses = called(model, "head", logits, labels, method="loss", mend=mend if soft else "")
        if shape_of(losses) != batch["weights"].shape:
            expected = f"{said}expected one for each row, {list(batch['weights'].shape)}"
            raise maker.fault(f"{expected}, got {shown(losses)}", ModelError)
        return losses
