"""From tokens to predictions and metrics: whole sets, summed by weight, never averaged over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.batches import Prefetch, eval_order, plan_shapes
from stepbus.fits import Predictions

if TYPE_CHECKING:
    from stepbus.tokens import Tokens
    from stepbus.trainer import Trainer


def predict(
    trainer: Trainer, tokens: Tokens, targets: np.ndarray[Any, Any] | None = None
) -> tuple[Predictions, float, np.ndarray[Any, Any]]:
    """Run the model over a whole set.

    Args:
        trainer: The fit.
        tokens: The set.
        targets: Its labels in their own unit, if it has any.

    Returns:
        Predictions in the order of the set, in the label's own unit; the mean loss by weight (NaN without labels);
        and the logits [N, K].
    """
    settings = trainer.config.data.settings
    shapes = plan_shapes(tokens.lengths, batch_size=settings.eval_batch_size or settings.batch_size)
    outputs = trainer.encoder.codec.outputs
    values = np.zeros((len(tokens), outputs), np.float32)
    logits = np.zeros((len(tokens), outputs), np.float32)
    total = 0.0
    with Prefetch(tokens, eval_order(shapes, tokens.lengths), size=settings.prefetch_size) as batches:
        for batch in batches:
            loss, batch_values, batch_logits = trainer.steps.evaluate(batch)
            real = batch.rows >= 0
            values[batch.rows[real]] = batch_values[real]
            logits[batch.rows[real]] = batch_logits[real]
            total += loss
    loss = total / float(tokens.weights.sum()) if tokens.labels is not None else float("nan")
    return Predictions(tokens.row_ids, trainer.encoder.codec.to_units(values), targets), loss, logits


def score(trainer: Trainer, predictions: Predictions, loss: float, prefix: str) -> dict[str, float]:
    """Return the loss and every metric of a labelled set.

    Args:
        trainer: The fit; its metrics were chosen by the task.
        predictions: Predictions with labels.
        loss: The mean loss.
        prefix: What stands before each name.
    """
    found = {f"{prefix}_loss": loss}
    undefined = []
    for name, metric in trainer.metrics:
        value = metric(predictions.labels, predictions.values)
        named = value if isinstance(value, dict) else {name: value}
        found |= {f"{prefix}_{key}": float(number) for key, number in named.items()}
        undefined += [key for key, number in named.items() if number != number]
    if undefined and hasattr(trainer, "run"):
        trainer.message(f"undefined on these rows: {', '.join(undefined)} (a class may be absent)", "warning")
    return found
