"""From batches to predictions and metrics: whole sets, summed by weight, never averaged over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import DataError, listed
from stepbus.base.guards import Scores
from stepbus.base.scoring import weights_argument
from stepbus.fit import best_weights
from stepbus.fit.computing import spoiled
from stepbus.fit.predicting import combined, seen_otherwise, views_of
from stepbus.fit.scoring import metric_values as metric_values
from stepbus.fit.using import weights_in_use
from stepbus.kernel import Best, Predictions

if TYPE_CHECKING:
    from stepbus.fit.builder import Fitting
    from stepbus.fit.predicting import View
    from stepbus.kernel import ScoredSet, Steps

    Array = np.ndarray[Any, Any]


def predict(steps: Steps, rows: ScoredSet) -> tuple[Predictions, float, Array]:
    """Run the model over a whole set.

    Args:
        steps: What computes.
        rows: The set.

    Returns:
        Predictions in the order of the set, in the label's own unit; the mean loss by weight (NaN without labels);
        and the logits [N, K].
    """
    total, places, said, raw = 0.0, [], [], []
    with rows.batches() as batches:
        for batch in batches:
            loss, values, logits = steps.evaluate(batch)
            real = batch.rows >= 0
            places.append(batch.rows[real])
            said.append(values[real])
            raw.append(logits[real])
            total += loss
    order = np.argsort(np.concatenate(places), kind="stable")
    values, logits = joined(said, "predictions")[order], joined(raw, "outputs")[order]
    loss = float("nan") if rows.targets is None else total / rows.weight
    weights = None if rows.targets is None else rows.weights
    return Predictions(rows.row_ids, rows.to_units(values), rows.targets, weights), loss, logits


def joined(parts: Sequence[Array], what: str) -> Array:
    """Return the arrays of all batches as one.

    Args:
        parts: Arrays [B, …].
        what: What they are, for a message.

    Raises:
        DataError: Their other axes differ.
    """
    shapes = list(dict.fromkeys(part.shape[1:] for part in parts))
    if len(shapes) > 1:
        said = " and ".join(str(list(shape)) for shape in shapes[:2])
        raise DataError(f"{what}: expected rows of one shape in all batches, got {said}; pad them to one length")
    return np.concatenate(parts)


def softmax_twice(predictions: Predictions, outputs: Array) -> str:
    """Return what to say where outputs that a softmax was taken of are probabilities already, or "".

    Args:
        predictions: What was made of them.
        outputs: The model's own answers [N, K].
    """
    values = np.asarray(predictions.values)
    if outputs.ndim != 2 or outputs.shape[1] < 2 or not len(outputs) or values.shape != outputs.shape:
        return ""
    # Logits do not add up to 1 in every row by chance; what was taken as it is was not squeezed a second time.
    if not (outputs >= 0).all() or np.abs(outputs.sum(axis=1) - 1).max() > 1e-3 or np.array_equal(values, outputs):
        return ""
    return (
        "the model's outputs are probabilities already (none is negative, and each row adds up to 1), and predictions "
        "take a softmax of them once more, which makes all of them alike; return logits, as cross-entropy expects too"
    )


def score(
    metrics: Sequence[tuple[str, Any]], predictions: Predictions, loss: float, prefix: str, loss_name: str = "loss"
) -> tuple[dict[str, float], str]:
    """Return the loss and every metric of a labelled set, and what is to be said of them.

    Args:
        metrics: Name -> what computes it.
        predictions: Predictions with labels.
        loss: The mean loss.
        prefix: What stands before each name.
        loss_name: What the loss is called.
    """
    found = metric_values(metrics, predictions.labels, predictions.values, predictions.weights)
    undefined = [name for name, value in found.items() if value != value]
    finite = np.isfinite(np.asarray(predictions.values)).all()
    why = "a class may be absent" if np.ndim(predictions.values) > 1 else "for such labels or predictions"
    why = why if finite else "the predictions are no finite numbers"
    words = f"undefined on these rows: {', '.join(undefined)} ({why})" if undefined else ""
    before = f"{prefix}_" if prefix else ""
    return {f"{before}{loss_name}": loss} | {f"{before}{name}": value for name, value in found.items()}, words


def unweighed(metrics: Sequence[tuple[str, Any]]) -> str:
    """Return which metrics count all rows alike whatever they weigh, as a sentence, or "" where none does.

    Args:
        metrics: Name -> what computes it.
    """
    names = [name for name, metric in metrics if not weights_argument(metric)]
    if not names:
        return ""
    return f"rows have weights, which {listed(names)} cannot count by: a metric gets them by an argument called weights"


def score_set(session: Fitting, name: str, prefix: str, said: set[str]) -> tuple[Predictions, dict[str, float]]:
    """Return predictions and metrics of a named set of a fit.

    Args:
        session: The fit.
        name: The set.
        prefix: What stands before each metric's name.
        said: What the user was told of a run and need not hear again.
    """
    predictions, loss, outputs = predict(session.steps, session.data.sets[name])
    found, words = score(session.metrics, predictions, loss, prefix)
    if words:
        session.message(words, "warning")
    uncounted = "" if predictions.weights is None else unweighed(session.metrics)
    _tell(session, said, uncounted, softmax_twice(predictions, outputs))
    return predictions, found


def predicted(session: Fitting, rows: ScoredSet, said: set[str]) -> Predictions:
    """Return predictions of a set of a fit, whose labels do not matter.

    Args:
        session: The fit.
        rows: The set.
        said: What the user was told of a run and need not hear again.
    """
    predictions, _, outputs = predict(session.steps, rows)
    _tell(session, said, softmax_twice(predictions, outputs))
    return predictions


def _tell(session: Fitting, said: set[str], *words: str) -> None:
    for each in words:
        if each and each not in said:
            said.add(each)
            session.message(each, "warning")


def evaluate_monitored(session: Fitting, reason: str) -> None:
    """Evaluate the set that decides, where there is one, keep the best, and let the plugins decide.

    Args:
        session: The fit, at a boundary.
        reason: epoch, steps, training for the means of the training rows alone, or who asked.
    """
    name, state = session.fit.monitored, session.state
    scored = {} if name is None or reason == "training" else evaluate_set(session, name, "eval", reason)
    metrics = Scores({**state.train_means, **scored})
    state.metrics.update(metrics)
    _update_best(session, metrics)
    best_weights.keep(session)
    state.history.append(Scores({"step": state.step, "epoch": state.epoch_progress, **metrics}))
    session.bus.hook.on_metrics(trainer=session, state=state, metrics=metrics)
    session.steps.restart_clock()


def evaluate_set(session: Fitting, name: str, prefix: str, reason: str, *, final: bool = False) -> dict[str, float]:
    """Evaluate one named set of a fit, with its events, and return its metrics.

    Args:
        session: The fit.
        name: The set.
        prefix: What stands before each metric's name.
        reason: epoch, steps, final, or who asked.
        final: Whether this is the last evaluation of the fit.
    """
    hook, state = session.bus.hook, session.state
    views = views_of(session.bus, session, session.prepared.sets[name]) if final else []
    # At the end, a set that was scored at this very step is not announced again; after a resume it is
    # computed again in silence, so that the log stays that of a run which was never cut.
    fresh = not final or bool(views) or state.evaluated.get(name) != state.step
    if fresh:
        hook.on_evaluate_start(trainer=session, state=state, name=name, reason=reason)
    if fresh or name not in session.scored:
        with weights_in_use(session):
            predictions, metrics = session.builder.score(session, name, prefix)
        session.scored[name] = predictions, Scores(metrics)
        state.evaluated[name] = state.step
    if views:
        session.scored[name] = _with_views(session, views, *session.scored[name], prefix)
    predictions, metrics = session.scored[name]
    session.control.saw(name)
    hook.on_predictions(trainer=session, state=state, name=name, predictions=predictions, final=final)
    if fresh:
        hook.on_evaluate(trainer=session, state=state, name=name, metrics=metrics)
    return metrics


def _with_views(
    session: Fitting, views: Sequence[View], plain: Predictions, metrics: Mapping[str, float], prefix: str
) -> tuple[Predictions, dict[str, float]]:
    """Return what is said of a set in all views together, and its metrics beside those of the plain view."""
    predictions = _in_all_views(session, views, plain)
    before, loss = f"{prefix}_" if prefix else "", f"{prefix}_loss" if prefix else "loss"
    kept = {f"{before}plain_{key.removeprefix(before)}": value for key, value in metrics.items() if key != loss}
    # The loss stays that of the plain view: views have predictions, and no outputs together.
    found, words = score(session.metrics, predictions, metrics.get(loss, float("nan")), prefix)
    if words:
        session.message(words, "warning")
    return predictions, Scores({**metrics, **found, **kept})


def _in_all_views(session: Fitting, views: Sequence[View], plain: Predictions) -> Predictions:
    def said(view: View) -> Predictions:
        return session.builder.predict(session, seen_otherwise(session.data, session.config, view))

    return combined(session.bus, session, plain, views, said)


def final_predictions(session: Fitting) -> dict[str, Predictions]:
    """Score or predict every set of a fit for the last time, with the weights that are exported.

    Args:
        session: The fit, at its end.
    """
    found = {}
    for name in session.data.sets:
        if session.fit.is_labelled(name):
            prefix = "eval" if name == session.fit.monitored else name
            session.state.metrics.update(evaluate_set(session, name, prefix, "final", final=True))
            found[name] = session.scored[name][0]
        else:
            found[name] = predict_set(session, name)
    return found


def predict_set(session: Fitting, name: str) -> Predictions:
    """Predict a named set without labels at the end of a fit, and tell the plugins.

    Args:
        session: The fit, with the weights that are exported.
        name: The set.
    """
    views = views_of(session.bus, session, session.prepared.sets[name])
    predictions = session.builder.predict(session, session.data.sets[name])
    if views:
        predictions = _in_all_views(session, views, predictions)
    hook = session.bus.hook
    hook.on_predictions(trainer=session, state=session.state, name=name, predictions=predictions, final=True)
    return predictions


def _update_best(session: Fitting, metrics: Mapping[str, float]) -> None:
    value, greater = metrics.get(session.monitor), session.directions.get(session.monitor)
    if value is None or greater is None or value != value:
        return
    best = session.state.best
    if best is None or (value > best.value if greater else value < best.value):
        if words := spoiled(session):  # of which a metric of classes may still be a number
            session.message(f"step {session.state.step} does not count as the best, because {words}", "warning")
            return
        session.state.best = Best(session.monitor, value, session.state.step)
