"""From tokens to predictions and metrics: whole sets, summed by weight, never averaged over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.batches import Prefetch, eval_order, plan_shapes
from stepbus.fits import Predictions
from stepbus.state import Best

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    shapes = plan_shapes(
        tokens.lengths,
        batch_size=settings.eval_batch_size or settings.batch_size,
        longest=trainer.encoder.limits.positions,
    )
    outputs = trainer.encoder.codec.outputs
    values = np.zeros((len(tokens), outputs), np.float32)
    logits = np.zeros((len(tokens), outputs), np.float32)
    total = 0.0
    order, ahead, workers = eval_order(shapes, tokens.lengths), settings.prefetch_size, settings.num_workers
    with Prefetch(tokens, order, size=ahead, workers=workers) as batches:
        for batch in batches:
            loss, batch_values, batch_logits = trainer.steps.evaluate(batch)
            real = batch.rows >= 0
            values[batch.rows[real]] = batch_values[real]
            logits[batch.rows[real]] = batch_logits[real]
            total += loss
    loss = total / float(tokens.weights.sum()) if tokens.labels is not None else float("nan")
    return Predictions(tokens.row_ids, trainer.encoder.codec.to_units(values), targets), loss, logits


def metric_values(metrics: Iterable[tuple[str, Any]], labels: Any, values: Any) -> dict[str, float]:
    """Return what each metric says of labels and predictions, without prefix; NaN where it is undefined.

    Args:
        metrics: Name and function of each; one that returns a dictionary gives several.
        labels: [N] class numbers, [N, K] 0/1, or [N] values in their own unit.
        values: [N, K] probabilities, or [N] values in their own unit.
    """
    found: dict[str, float] = {}
    for name, metric in metrics:
        value = metric(labels, values)
        found |= value if isinstance(value, dict) else {name: value}
    return {name: float(value) for name, value in found.items()}


def score(trainer: Trainer, predictions: Predictions, loss: float, prefix: str) -> dict[str, float]:
    """Return the loss and every metric of a labelled set.

    Args:
        trainer: The fit; its metrics were chosen by the task.
        predictions: Predictions with labels.
        loss: The mean loss.
        prefix: What stands before each name.
    """
    values = metric_values(trainer.metrics, predictions.labels, predictions.values)
    found = {f"{prefix}_loss": loss} | {f"{prefix}_{name}": value for name, value in values.items()}
    undefined = [name for name, value in values.items() if value != value]
    if undefined and hasattr(trainer, "run"):
        trainer.message(f"undefined on these rows: {', '.join(undefined)} (a class may be absent)", "warning")
    return found


def evaluate_monitored(trainer: Trainer, reason: str) -> None:
    """Evaluate the set that decides, keep the best, and let the plugins decide.

    Args:
        trainer: The fit, at a boundary.
        reason: epoch, steps, or who asked.
    """
    name, state = trainer.fit.monitored, trainer.state
    assert name is not None
    metrics = evaluate_set(trainer, name, "eval", reason)
    state.metrics.update(metrics)
    _update_best(trainer, metrics)
    state.history.append({"step": state.step, "epoch": state.epoch_progress, **metrics})
    trainer.bus.hook.on_metrics(trainer=trainer, state=state, metrics=metrics)
    if trainer.control.best and state.best is not None and state.best.step == state.step:
        trainer.best_arrays = dict(trainer.model.tensors())  # arrays are immutable: a snapshot by reference
    trainer.steps.restart_clock()


def evaluate_set(trainer: Trainer, name: str, prefix: str, reason: str, *, final: bool = False) -> dict[str, float]:
    """Evaluate one named set of a fit, with its events, and return its metrics.

    Args:
        trainer: The fit.
        name: The set.
        prefix: What stands before each metric's name.
        reason: epoch, steps, final, or who asked.
        final: Whether this is the last evaluation of the fit.
    """
    hook, state = trainer.bus.hook, trainer.state
    # At the end, a set that was scored at this very step is not announced again; after a resume it is
    # computed again in silence, so that the log stays that of a run which was never cut.
    fresh = not final or state.evaluated.get(name) != state.step
    if fresh:
        hook.on_evaluate_start(trainer=trainer, state=state, name=name, reason=reason)
    if fresh or name not in trainer.scored:
        trainer.scored[name] = trainer.score(name, prefix)
        state.evaluated[name] = state.step
    predictions, metrics = trainer.scored[name]
    hook.on_predictions(
        trainer=trainer, state=state, name=name, labels=predictions.labels, predictions=predictions.values, final=final
    )
    if fresh:
        hook.on_evaluate(trainer=trainer, state=state, name=name, metrics=metrics)
    return metrics


def _update_best(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    value, greater = metrics.get(trainer.monitor), trainer.directions.get(trainer.monitor)
    if value is None or greater is None or value != value:
        return
    best = trainer.state.best
    if best is None or (value > best.value if greater else value < best.value):
        trainer.state.best = Best(trainer.monitor, value, trainer.state.step)
